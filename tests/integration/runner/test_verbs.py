"""Operators are obeyed, wherever a run stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import RunStatus
from breakbulk.errors import StateError
from tests.support.yard import Goods, Yard, touch

if TYPE_CHECKING:
    from breakbulk import Chunk


def test_a_pause_takes_effect_after_the_chunk_in_hand(yard: Yard) -> None:
    handles: list[Any] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 1:
            assert handles[0].pause() is RunStatus.PAUSING

    if yard.engine.dialect.name == "sqlite":
        # The chunk holds the only write lock, so the operator comes between two of them.
        handle = yard.submit(yard.job())
        handle.pause()
        yard.settle(handle)
        done = 0
    else:
        handle = yard.submit(yard.job(process))
        handles.append(handle)
        yard.settle(handle)
        done = 10
    assert handle.status() is RunStatus.PAUSED
    assert list(yard.versions().values()) == [1] * done + [0] * (25 - done)
    assert handle.resume() is RunStatus.RUNNING
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.mark.parametrize("before", ["running", "paused", "held"])
def test_a_run_can_be_cancelled_wherever_it_stands(yard: Yard, before: str) -> None:
    handle = yard.submit(yard.job())
    if before == "paused":
        handle.pause()
    if before == "held":
        with yard.transaction() as connection:
            yard.ledger.runs.move(
                connection, handle.id, RunStatus.HELD, actor="test", reason="for a test"
            )
    assert handle.cancel(reason="not today") is RunStatus.CANCELLED
    assert handle.cancel() is RunStatus.CANCELLED, "asking again is no mistake"
    assert handle.record().reason == "not today"
    yard.first_crew.work()
    assert set(yard.versions().values()) == {0}


def test_an_ended_run_can_be_neither_paused_nor_cancelled_nor_resumed(yard: Yard) -> None:
    handle = yard.run()
    for verb in (handle.pause, handle.cancel, handle.resume):
        with pytest.raises(StateError, match=rf"^Run {handle.id} .*succeeded"):
            verb()
    yard.assert_proper(handle)
