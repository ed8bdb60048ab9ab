"""Workers are replaced when they die and gone when they are stopped.

The workers here are shell scripts: what matters is that they are processes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from breakbulk.demo import crew as module
from breakbulk.demo.crew import Crew, Replacement
from breakbulk.errors import ConfigurationError
from tests.support.waiting import wait_for

Hire = Callable[[str, int], Crew]


@pytest.fixture
def hire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hire]:
    """Call it with a script and a number to get a crew of such workers."""
    crews: list[Crew] = []

    def start(script: str, size: int) -> Crew:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        crew = Crew(tmp_path, tmp_path / "demo.ini", size)
        crews.append(crew)
        crew.start()
        return crew

    yield start
    for crew in crews:
        crew.stop()


def changes(crew: Crew) -> list[Replacement]:
    return list(crew.mind())


def test_those_that_live_are_left_alone(hire: Hire) -> None:
    crew = hire("exec sleep 1000", 2)
    before = list(crew.pids)
    assert not changes(crew)
    assert crew.pids == before


def test_a_killed_one_is_replaced_and_its_pool_goes_with_it(hire: Hire, tmp_path: Path) -> None:
    crew = hire("sleep 1000 & echo $!; wait", 2)
    lost, other = crew.pids
    log = tmp_path / "worker1.log"
    child = psutil.Process(int(wait_for(lambda: log.exists() and log.read_text().strip())))
    os.kill(lost, signal.SIGKILL)
    (change,) = wait_for(lambda: changes(crew))
    assert change.lost.process.pid == lost
    assert change.cause == "was killed by SIGKILL"
    assert crew.pids == [change.successor.process.pid, other]
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_killing_them_again_and_again_is_no_false_start(hire: Hire) -> None:
    crew = hire("exec sleep 1000", 1)
    for _ in range(5):
        os.kill(crew.pids[0], signal.SIGKILL)
        assert len(wait_for(lambda: changes(crew))) == 1


def test_those_that_cannot_start_are_given_up(hire: Hire) -> None:
    crew = hire("echo no such module; exit 1", 1)
    with pytest.raises(ConfigurationError, match="end as soon as they start: no such module"):
        wait_for(lambda: changes(crew) and False)


def test_stopping_takes_those_along_that_do_not_want_to(
    hire: Hire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.1)
    crew = hire("trap '' TERM; echo ready; while :; do sleep 1000; done", 1)
    log = tmp_path / "worker1.log"
    wait_for(lambda: log.exists() and log.read_text())
    worker = psutil.Process(crew.pids[0])
    family = [worker, *worker.children(recursive=True)]
    crew.stop()
    for process in family:
        wait_for(lambda p=process: not p.is_running() or p.status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]


def test_they_find_our_code_and_not_what_lies_around(
    hire: Hire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("PYTHONPATH", "relative")
    hire('pwd; echo "$PYTHONPATH"; echo "$@"; exec sleep 1000', 1)
    log = tmp_path / "worker1.log"
    lines = wait_for(lambda: log.exists() and log.read_text().count("\n") == 3 and log.read_text())
    directory, paths, arguments = str(lines).splitlines()
    assert directory == str(tmp_path)
    assert str(tmp_path.parent / "relative") in paths.split(os.pathsep)
    assert all(map(os.path.isabs, paths.split(os.pathsep)))
    assert f"worker --ini {tmp_path / 'demo.ini'} " in arguments
