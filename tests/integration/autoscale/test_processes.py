"""Worker processes that misbehave: they die at once, never end, or cannot be started at all."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from breakbulk.autoscale import Controller, Turn
from breakbulk.autoscale.looping import loop
from breakbulk.autoscale.processes import Processes
from breakbulk.domain.scaling import Limits
from breakbulk.errors import LedgerUnreachable, ProviderRefused
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.yard import Yard

LIMITS = Limits(minimum=1, maximum=3, out_cooldown=0, in_cooldown=0, start_seconds=0)
#: Says that it is there, and hears no SIGTERM.
_STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('here', flush=True); time.sleep(600)"
)


@contextmanager
def processes(yard: Yard, logs: Path, *command: str) -> Iterator[Processes]:
    """Some of one group; nothing is left of them."""
    made = Processes(command, group=f"processes {yard.bulk.scaling.place}", logs=logs)
    try:
        yield made
    finally:
        made.kill()


def test_a_command_that_dies_at_once_is_not_started_for_ever(
    sqlite_yard: Yard, tmp_path: Path
) -> None:
    with processes(sqlite_yard, tmp_path, sys.executable, "-c", "raise SystemExit(1)") as provider:
        controller = Controller(sqlite_yard.bulk, provider, LIMITS, queues=["celery"])
        decisions = []
        for _ in range(12):
            decisions.append(controller.turn().decision)
            wait_for(lambda: not provider.size(), message="it to have died")
        assert decisions[-1] is not None
        assert not decisions[-1].starts
        assert "3 nodes have died" in decisions[-1].reason
        assert len(list(tmp_path.glob("*.log"))) == 3


def test_a_worker_that_never_ends_holds_nobody_up(sqlite_yard: Yard, tmp_path: Path) -> None:
    command = (sys.executable, "-c", _STUBBORN)
    with processes(sqlite_yard, tmp_path, *command) as provider:
        provider.grow(2)
        wait_for(lambda: _here(tmp_path) == 2, message="both to be deaf")
        controller = Controller(sqlite_yard.bulk, provider, LIMITS, queues=["celery"])
        assert controller.turn().leads
        (left,) = provider.nodes()
        assert not provider.drain(0.2), "both are there still"
        assert provider.nodes() == []
        controller.resign()
        # Another controller knows from the ledger whom the first one has asked to go.
        with processes(sqlite_yard, tmp_path, *command) as other:
            assert len(other.nodes()) == 2
            second = Controller(sqlite_yard.bulk, other, LIMITS, queues=["celery"])
            turn = second.turn()
            assert turn.look is not None
            assert turn.look.nodes == 1
            assert other.nodes() == [left]


def _here(logs: Path) -> int:
    return sum("here" in log.read_text() for log in logs.glob("*.log"))


def test_a_command_that_is_not_there_is_told_in_one_sentence(
    sqlite_yard: Yard, tmp_path: Path
) -> None:
    with (
        processes(sqlite_yard, tmp_path, "no-such-program") as provider,
        pytest.raises(ProviderRefused, match=r"no-such-program cannot be started .*--worker"),
    ):
        provider.grow(1)


@pytest.mark.parametrize(
    "trouble", [LedgerUnreachable("It is away."), ProviderRefused("None is to be had.")]
)
def test_what_is_in_the_way_is_told_and_tried_again(trouble: Exception) -> None:
    told: list[str] = []
    stop = threading.Event()
    turns = iter((trouble, trouble, None))

    class Tried:
        def turn(self) -> Turn:
            found = next(turns)
            if found is not None:
                raise found
            stop.set()
            return Turn(leads=True)

    loop(Tried(), stop, 0.0, lambda turn: told.append(str(turn.leads)), told.append)  # type: ignore[arg-type]
    assert told == [str(trouble), str(trouble), "True"]
