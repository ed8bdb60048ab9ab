"""The units of systemd, looked at by systemd itself."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import DEPLOY, command_of, instructions, program

if TYPE_CHECKING:
    from pathlib import Path

_UNITS = sorted((DEPLOY / "systemd").iterdir())
_BIN = "/opt/venv/bin/"


def value(unit: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", (DEPLOY / "systemd" / unit).read_text(), re.MULTILINE)
    return str(found)


def verify(directory: Path, text: dict[str, str]) -> str:
    """What systemd-analyze says of units, with an instance of those that are templates."""
    analyze = program("systemd-analyze", "systemd")
    # Programs of the unit must be there, so they are looked for where the tests have them.
    here = f"{sys.prefix}/bin/"
    for name, unit in text.items():
        (directory / name).write_text(unit.replace(_BIN, here))
    names = [str(directory / name.replace("@.", "@1.")) for name in text]
    done = subprocess.run(
        [analyze, "verify", "--man=no", *names],
        env={"SYSTEMD_UNIT_PATH": f"{directory}:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Units of the machine itself may have faults of their own.
    ours = [line for line in done.stderr.splitlines() if "shop" in line or str(directory) in line]
    return "\n".join(ours)


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    assert verify(tmp_path, {path.name: path.read_text() for path in _UNITS}) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [("TimeoutStopSec=", "TimeoutStopSecs="), (f"{_BIN}celery", f"{_BIN}sellery")],
)
def test_a_slip_would_be_noticed(tmp_path: Path, old: str, new: str) -> None:
    name = "shop-worker@.service"
    unit = (DEPLOY / "systemd" / name).read_text()
    assert old in unit
    assert verify(tmp_path, {name: unit.replace(old, new)}) != ""


def test_a_worker_knows_how_long_it_has() -> None:
    unit = (DEPLOY / "systemd" / "shop-worker@.service").read_text()
    assert f"BREAKBULK_GRACE_SECONDS={value('shop-worker@.service', 'TimeoutStopSec')}\n" in unit


@pytest.mark.parametrize(("minutes", "asks"), [(0, False), (3, True)])
def test_a_worker_that_has_just_been_started_is_let_be(
    tmp_path: Path, minutes: int, *, asks: bool
) -> None:
    unit = (DEPLOY / "systemd" / "shop-worker-alive@.service").read_text()
    _, condition = re.findall(r"^ExecCondition=(.*)$", unit, re.MULTILINE)
    began = time.time() - 60 * minutes
    os.utime(tmp_path, (began, began))
    # As systemd reads it: two dollar signs are one.
    told = condition.replace("/run/shop-worker-%i", str(tmp_path)).replace("$$", "$")
    assert (subprocess.run(shlex.split(told), timeout=60, check=False).returncode == 0) is asks


def test_only_the_main_process_hears_of_a_shutdown() -> None:
    assert value("shop-worker@.service", "KillMode") == "mixed"


def test_it_starts_what_the_image_starts() -> None:
    started = shlex.split(value("shop-worker@.service", "ExecStart"))
    assert started.pop(4) == "--hostname=%i@%H"
    assert started == [f"{_BIN}celery", *command_of(instructions(DEPLOY / "Dockerfile"))[1:]]
