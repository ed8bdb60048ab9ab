"""``breakbulk demo`` as it is promised: for an ordinary user, and soon to be seen at work."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from breakbulk.embedded import scratch_directory
from tests.support.demonstration import DEMO, Demo, demo, living
from tests.support.roots import borrowed, need_roots

pytestmark = [pytest.mark.usefixtures("embedded"), pytest.mark.thorough]

_ROOT = Path(__file__).parents[2]
#: Seconds until the first line of progress, whatever the number of rows.
_FIRST_PROGRESS = 20.0
#: A user with a number and nothing else.
_NOBODY = 65_534


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the embedded servers can use, also when the tests run as root."""
    with scratch_directory("breakbulk-tests-") as path:
        yield path


def test_an_ordinary_user_has_it_just_so(directory: Path) -> None:
    """Whoever tests as root: in a root with this machine's programs, as nobody in particular."""
    need_roots()
    place = directory / "root"
    place.mkdir()
    root = borrowed(place, Path(sys.base_prefix))
    for lent in (Path(sys.prefix), _ROOT):
        root.lent[str(lent)] = lent
    home, scratch = root.path / "home", root.path / "scratch"
    for own in (home, scratch):
        own.mkdir()
        os.chown(own, _NOBODY, _NOBODY)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/home",
        "TMPDIR": "/scratch",
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = root.command([*DEMO, "--rows", "3000"], environment, user=_NOBODY, directory="/home")
    started = Demo(command, directory, terminal=False)
    try:
        started.await_output("process \\d+, process \\d+")
        family = started.family()
        assert {process.uids().real for process in family} == {_NOBODY}
        assert started.wait() == 0, started.output
        assert not living(family)
    finally:
        started.close()
    assert "Each product was processed exactly once." in started.output
    assert not [*home.iterdir(), *scratch.iterdir()]


def test_the_first_progress_of_a_million_rows_is_there_soon(directory: Path) -> None:
    """On a machine that is busy with other tests what counts is what the demo has of it."""
    seen = []
    for _ in range(3):
        begun = time.monotonic()
        with demo(directory) as started:
            started.await_output("rows/s")
            everybody = {psutil.Process(started.process.pid), *started.family()}
            seen.append(min(time.monotonic() - begun, sum(map(_spent, everybody))))
            started.process.send_signal(signal.SIGTERM)
            started.wait()
        if seen[-1] <= _FIRST_PROGRESS:
            break
    assert min(seen) <= _FIRST_PROGRESS, f"after {seen} s"


def _spent(process: psutil.Process) -> float:
    """Seconds on a core, those of children that have ended included."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return sum((times.user, times.system, times.children_user, times.children_system))
