"""A worker's heartbeat, and the probe that reads it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from breakbulk.cli import breakbulk
from breakbulk.nodes.heartbeat import HEARTBEAT_VARIABLE, Heartbeat, silence_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then))


def ask(*arguments: str, **env: str) -> tuple[int, str]:
    done = CliRunner().invoke(breakbulk, ["healthcheck", *arguments], env=env)
    return done.exit_code, done.output


def test_it_beats_from_the_start_to_the_end(file: Path) -> None:
    heart = Heartbeat(file, lambda: True)
    heart.start()
    assert ask(str(file))[0] == 0
    age(file, 30)
    heart.beat()
    silence = silence_of(file)
    assert silence is not None
    assert silence < 20
    heart.stop()
    assert not file.exists()


def test_it_does_not_beat_for_a_worker_whose_steward_is_gone(file: Path) -> None:
    healthy = [True]
    heart = Heartbeat(file, lambda: healthy[0])
    heart.beat()
    age(file, 90)
    healthy[0] = False
    heart.beat()
    code, said = ask(str(file))
    assert (code, said[:36]) == (1, "The worker was silent for 90.0 s, wh")


def test_a_file_that_cannot_be_written_ends_no_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Heartbeat(tmp_path / "not" / "there", lambda: True).beat()
    assert "the heartbeat cannot be written" in caplog.text


def test_without_a_heartbeat_there_is_no_worker(file: Path) -> None:
    assert ask(str(file)) == (
        1,
        f"There is no heartbeat at {file}: the worker does not run, or not yet.\n",
    )


def test_the_probe_takes_the_workers_variable_and_its_own_bound(file: Path) -> None:
    file.touch()
    age(file, 90)
    code, said = ask("--within", "120", "--json", **{HEARTBEAT_VARIABLE: str(file)})
    told: dict[str, Any] = json.loads(said)
    assert (code, told["alive"], told["within"]) == (0, True, 120)
    assert 80 < told["silent_seconds"] < 110
