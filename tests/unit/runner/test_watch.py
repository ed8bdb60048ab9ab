"""Whoever is at a chunk for too long is ended, and nobody else, with no database to ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from breakbulk.runner.deadlines import Deadlines
from breakbulk.runner.runtime import process_started
from breakbulk.runner.watch import Watch
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that hangs."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines(8)


@pytest.fixture
def watch(deadlines: Deadlines) -> Watch:
    return Watch(deadlines, 0.01)


def begin(deadlines: Deadlines, pid: int, *, started: float = 0.0) -> UUID:
    """A lane of a process that is late at once."""
    lane = uuid4()
    slot = deadlines.take(pid, started or process_started(pid) or 0.0)
    deadlines.begin(slot, lane, 0.0001)
    wait_for(lambda: lane in deadlines.overdue(), message="it to be late")
    return lane


def test_who_is_late_is_ended_and_remembered(
    deadlines: Deadlines, watch: Watch, child: subprocess.Popen[bytes]
) -> None:
    lane = begin(deadlines, child.pid)
    watch.start()
    assert child.wait(timeout=30) == -signal.SIGKILL
    watch.stop()
    deadlines.reset()
    assert watch.overdue() == {lane}, "though another one may have its slot by now"
    assert (watch.seconds_of(lane) or 0) > 0


def test_a_later_process_of_the_same_number_is_let_alone(
    deadlines: Deadlines, watch: Watch, child: subprocess.Popen[bytes]
) -> None:
    begin(deadlines, child.pid, started=(process_started(child.pid) or 0) - 60)
    assert watch.overdue() == set()
    assert process_started(child.pid) is not None


def test_who_has_gone_on_meanwhile_is_let_alone(
    deadlines: Deadlines,
    watch: Watch,
    child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(deadlines, child.pid)
    late = deadlines.late()
    deadlines.end(late[0].slot)
    monkeypatch.setattr(deadlines, "late", lambda: late)
    assert watch.overdue() == set()
    assert process_started(child.pid) is not None


def test_who_died_of_something_else_is_not_late(
    deadlines: Deadlines, watch: Watch, child: subprocess.Popen[bytes]
) -> None:
    begin(deadlines, child.pid)
    child.kill()
    child.wait()
    assert watch.overdue() == set()


def test_a_thread_is_late_and_nothing_more(deadlines: Deadlines, watch: Watch) -> None:
    lane = begin(deadlines, os.getpid())
    assert watch.overdue() == {lane}
    assert watch.seconds_of(lane) is not None
