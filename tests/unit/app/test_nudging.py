"""Nudges: behind the back of whoever commits, one after the other, and never in his way."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk.app.nudging import Nudges
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(number: int) -> Any:
    return SimpleNamespace(id=number)


def _wait(gate: threading.Event) -> None:
    gate.wait(60)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_nobody_waits_for_a_broker_that_does_not_answer(gate: threading.Event) -> None:
    asked: list[int] = []

    def nudge(one: Any) -> None:
        asked.append(one.id)
        gate.wait(60)

    nudges = Nudges(nudge)
    before = threading.active_count()
    for number in (1, 2, 3, 3, 3):
        nudges.later(run(number))
    assert threading.active_count() <= before + 1
    assert not nudges.idle
    wait_for(lambda: asked == [1], message="the first to be asked for")
    gate.set()
    wait_for(lambda: nudges.idle, message="the rest to be asked for")
    assert asked == [1, 2, 3]


def test_one_that_fails_is_logged_and_the_next_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[int] = []

    def nudge(one: Any) -> None:
        asked.append(one.id)
        raise OSError("no route")

    nudges = Nudges(nudge)
    nudges.later(run(1))
    nudges.later(run(2))
    wait_for(lambda: nudges.idle, message="both to be asked for")
    assert asked == [1, 2]
    assert "run 2 is submitted, but no lane was asked for" in caplog.text
    assert "no route" in caplog.text


def test_no_thread_to_be_had_costs_only_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    nudges = Nudges(lambda _run: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        nudges.later(run(1))
    assert nudges.idle
    assert "can't start new thread" in caplog.text
    nudges.later(run(2))
    wait_for(lambda: nudges.idle, message="the next to be asked for")


def test_a_forked_child_begins_anew(gate: threading.Event) -> None:
    nudges = Nudges(lambda _run: _wait(gate))
    nudges.later(run(1))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, b"idle" if nudges.idle else b"busy")
        os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"idle"
    os.close(read)
    os.waitpid(pid, 0)
