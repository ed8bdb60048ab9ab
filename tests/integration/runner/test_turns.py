"""Many runs at once: all have their turn, and no more messages are about than there are slots."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from breakbulk.domain.status import ChunkStatus
from breakbulk.runner.deadlines import Deadlines
from breakbulk.runner.work import work
from tests.support.waiting import wait_for
from tests.support.yard import Goods, Yard

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from breakbulk import Chunk, RunHandle

_MANY = 50


class Clock(Deadlines):
    """Tells when a lane begins a chunk."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def begin(self, slot: int | None, lane: UUID, seconds: float | None) -> None:
        self._tell()
        super().begin(slot, lane, seconds)


def many(
    yard: Yard, runs: int = _MANY, *, chunk_size: int = 10, worked: list[int] | None = None
) -> list[RunHandle]:
    def process(chunk: Chunk[Goods]) -> None:
        if worked is not None:
            worked.append(chunk.number)

    job = yard.job(process, finished=None, chunk_size=chunk_size)
    return [yard.bulk.submit(job(tag=str(number))) for number in range(runs)]


def begun(handle: RunHandle) -> bool:
    return bool(handle.chunks(statuses=[ChunkStatus.SUCCEEDED], limit=1))


def test_no_run_waits_until_others_have_ended(yard: Yard) -> None:
    worked: list[int] = []
    handles = many(yard, runs=6, chunk_size=1, worked=worked)
    crew = yard.crew()

    def all_begun() -> bool:
        # Let go amid its run, as at the end of a slice.
        before = len(worked)
        crew.work_until(lambda: len(worked) > before)
        assert {one.status() for one in handles} == {RunStatus.RUNNING}, "none has ended"
        return all(map(begun, handles))

    wait_for(all_begun, message="all runs to begin")


def test_what_counts_are_the_slots_and_not_the_runs(yard: Yard) -> None:
    handles = many(yard)
    crew = yard.crew(slots=2)
    crew.tick()
    assert crew.sent == [("celery", 3)], "two, and one because of those that fetch ahead"
    crew.sent.clear()
    crew.tick()
    assert crew.sent == [], "not again at once"
    for handle in handles[:2]:
        yard.lane(handle)
    crew.steward._nudged.clear()
    crew.tick()
    assert crew.sent == [], "all slots are taken, and who has them looks for others himself"


def test_a_submit_asks_for_no_more_than_are_free(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    assert yard.bulk.broker is not None
    monkeypatch.setattr(
        yard.bulk.broker, "send_lanes", lambda _queue, count, _until: asked.append(count)
    )
    job = yard.job()
    crew = yard.crew(slots=3)
    first, second = (yard.bulk.submit(job(tag=tag)) for tag in "ab")
    assert asked == [3, 3]
    for number in range(2):
        yard.lane(first, number, crew=crew)
    yard.bulk.submit(job(tag="c"))
    yard.lane(second, crew=crew)
    yard.bulk.submit(job(tag="d"))
    assert asked == [3, 3, 1]


def test_a_message_that_comes_late_is_used_only_where_none_has_come_since(yard: Yard) -> None:
    worked: list[int] = []
    many(yard, runs=6, chunk_size=1, worked=worked)
    crew = yard.crew()
    with yard.reading() as connection:
        now = yard.ledger.lanes.now(connection)

    def comes(late: float) -> bool:
        before = len(worked)
        good_until = now - timedelta(seconds=late)
        # Let go after one chunk, so that there are runs left for the next.
        process = replace(crew.process, stopping=lambda: len(worked) > before)
        work(crew.runtime, process, "celery", 60.0, good_until=good_until)
        return len(worked) > before

    assert comes(late=5), "nobody has worked here at all"
    assert not comes(late=5), "somebody has, since it was sent"
    assert comes(late=-60), "it is not late"


def test_sqlite_a_chunks_clock_starts_with_its_turn(sqlite_yard: Yard) -> None:
    """Whoever only waits for the one writer, behind a chunk that hangs, is not late itself."""
    writers: list[int | None] = []
    crew = sqlite_yard.crew()
    crew.process = replace(
        crew.process, deadlines=Clock(lambda: writers.append(sqlite_yard.runtime.database.writer()))
    )
    sqlite_yard.run()
    assert writers == [os.getpid()] * 4, "three chunks and the callback"
