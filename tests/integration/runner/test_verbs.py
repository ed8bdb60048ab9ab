"""Operators are obeyed, wherever a run stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import RunStatus, Snooze
from breakbulk.errors import StateError
from breakbulk.runner.runtime import live_lanes
from tests.support.yard import Boom, Goods, Yard, touch, wipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from breakbulk import Chunk, FinishedRun


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


def test_postgres_a_pause_takes_effect_though_the_lane_holds_more_chunks(
    postgres_ground: Engine,
) -> None:
    """Its pace is known by the third, so it has claimed as much as it has time for."""
    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=25, shared=True, carve_seconds=600, slice_seconds=600)
    held: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 3:
            held.append(len(yard.rows_of("chunks", "status = 'carved'")))
            assert handle.pause() is RunStatus.PAUSING

    handle = yard.submit(yard.job(process, chunk_size=1))
    yard.settle(handle)
    assert held[0] > 1
    assert handle.status() is RunStatus.PAUSED
    assert sum(yard.versions().values()) == 3
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)
    yard.close()


@pytest.mark.parametrize("max_snoozes", [0, 1000])
def test_postgres_a_lane_whose_chunks_all_snooze_obeys(
    postgres_ground: Engine, max_snoozes: int
) -> None:
    """Nothing is marked done, so nothing tells it of the pause by the way."""
    wipe(postgres_ground)
    knobs = {"max_snoozes": max_snoozes, "slice_seconds": 1000.0, "carve_seconds": 1000.0}
    yard = Yard(postgres_ground, rows=100, shared=True, **knobs)
    handles: list[Any] = []
    begun: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        if chunk.number == 1:
            # Now its pace is known, so the lane takes several at a time.
            touch(chunk)
            return
        begun.append(chunk.number)
        if chunk.number == 2:
            assert handles[0].pause() is RunStatus.PAUSING
        raise Snooze(600)

    handles.append(yard.submit(yard.job(process, retry_delay=600)))
    yard.settle(handles[0])
    assert handles[0].status() is RunStatus.PAUSED
    assert begun == [2]
    yard.close()


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


def test_what_cannot_be_done_is_told_as_it_is(yard: Yard) -> None:
    def finished(_run: FinishedRun) -> None:
        raise Boom("no mail today")

    handle = yard.submit(yard.job(finished=finished, retry_delay=600))
    with yard.transaction() as connection:
        yard.ledger.runs.move(connection, handle.id, RunStatus.HELD, actor="test", reason="a test")
    with pytest.raises(StateError, match=r"is held: only a run that is running can be paused\.$"):
        handle.pause()
    handle.resume()
    yard.first_crew.work()
    assert handle.status() is RunStatus.FINISHING
    verbs: list[Callable[[], object]] = [handle.pause, handle.cancel]
    verbs.append(lambda: handle.cancel(force=True))
    for verb in verbs:
        with pytest.raises(StateError, match="is finishing: its rows are done and only its"):
            verb()
    assert not yard.rows_of("runs")[0]["forced"]
    assert "forced" not in {one.verb for one in handle.activity()}


def test_force_ends_with_the_round_that_it_was_meant_for(yard: Yard) -> None:
    bad = [True]

    def process(chunk: Chunk[Goods]) -> None:
        if bad:
            raise Boom
        touch(chunk)

    handle = yard.submit(yard.job(process, max_retries=0, on_failure="stop"))
    other = yard.lane(handle, 1)
    yard.crew(slots=2).work()
    assert handle.status() is RunStatus.CANCELLING, "its policy stops it, and the other is at work"
    handle.cancel(force=True)
    assert yard.rows_of("runs")[0]["forced"]
    yard.first_crew.tick()
    live_lanes.remove(other.token)
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    bad.clear()
    handle.retry()
    assert not yard.rows_of("runs")[0]["forced"]
    yard.settle(handle)
    yard.assert_proper(handle)
