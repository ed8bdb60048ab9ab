"""Looking at a run: never more than is known, at whatever moment one looks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import event

from breakbulk import RunStatus
from breakbulk.console import words
from breakbulk.domain.chunk import Bounds, Cut
from tests.support.yard import Boom, Goods, Yard, statements, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from breakbulk import Chunk, FinishedRun, RunHandle
    from breakbulk.domain.progress import Progress

_ROWS = 25


def carve(yard: Yard, handle: RunHandle, *cuts: Cut, exhausts: bool) -> None:
    """Carve for a lane that has left again."""
    lane = yard.lane(handle)
    claims = yard.ledger.claims
    with yard.transaction() as connection:
        claims.lock(connection, handle.id)
        frontier = claims.frontier(connection, handle.id, lane.token)
        claims.carve(
            connection, handle.id, frontier, cuts, lane=0, owner=uuid4(), exhausts=exhausts
        )
        yard.ledger.lanes.leave(connection, lane.token)


@contextmanager
def between_statements(engine: Engine, place: int, happens: Callable[[], None]) -> Iterator[None]:
    """Let something happen right before the statement at that place."""
    seen = [0]

    def before(*_: object) -> None:
        seen[0] += 1
        if seen[0] == place + 1:
            happens()

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", before)


def test_postgres_an_exact_total_is_exact_whenever_the_last_chunk_is_carved(
    postgres_yard: Yard,
) -> None:
    yard = postgres_yard

    def begun() -> RunHandle:
        handle = yard.submit(yard.job())
        cuts = (Cut(Bounds(None, (10,)), 10), Cut(Bounds((10,), (20,)), 10))
        carve(yard, handle, *cuts, exhausts=False)
        return handle

    with statements(yard.engine) as asked:
        begun().progress()
    looks = [one for one in asked if one.startswith("SELECT")]
    seen: list[Progress] = []
    for place in range(len(looks)):
        handle = begun()
        last = Cut(Bounds((20,), (_ROWS,)), 5)
        with between_statements(
            yard.engine,
            place,
            lambda: carve(yard, handle, last, exhausts=True),  # noqa: B023
        ):
            seen.append(handle.progress())
    exact = [one.rows_total for one in seen if one.total_is_exact]
    assert set(exact) == {_ROWS}
    assert len(exact) < len(seen), "the last chunk came too late for some of them"


def test_all_is_told_before_the_callback_begins(yard: Yard) -> None:
    seen: list[Progress] = []
    handles: list[RunHandle] = []

    def finished(_run: FinishedRun) -> None:
        seen.append(handles[0].progress())

    handles.append(yard.submit(yard.job(finished=finished)))
    yard.settle(handles[0])
    (progress,) = seen
    assert progress.status is RunStatus.FINISHING
    assert (progress.rows_done, progress.chunks_done) == (_ROWS, 3)
    assert progress.fraction == 1.0


def test_a_run_says_when_a_failed_chunk_is_tried_again(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2:
            raise Boom

    handle = yard.submit(yard.job(process, max_retries=1, retry_delay=1000))
    crew = yard.crew()
    crew.work()
    progress = handle.progress()
    assert (progress.chunks_waiting, progress.lanes, progress.rows_done) == (1, 0, 15)
    assert progress.rate > 0
    assert progress.eta is None, "not at that rate"
    assert _seconds(progress, "a chunk") in range(900, 1001)


def test_a_run_says_when_its_callback_is_tried_again(yard: Yard) -> None:
    def finished(_run: FinishedRun) -> None:
        raise Boom

    handle = yard.submit(yard.job(finished=finished, max_retries=1, retry_delay=1000))
    crew = yard.crew()
    crew.work()
    progress = handle.progress()
    assert progress.status is RunStatus.FINISHING
    assert _seconds(progress, "a callback") in range(900, 1001)


def _seconds(progress: Progress, of: str) -> int:
    before, _, after = (progress.waits or "").partition(f"the next try of {of} is due in ")
    assert not before
    return int(after.removesuffix(" s"))


def test_the_clock_is_asked_once_for_all_runs_that_start_later(yard: Yard) -> None:
    job = yard.job()
    for _ in range(3):
        yard.submit(job, countdown=3_600, overlap="allow")
    asked = []
    for runs in (yard.bulk.runs()[:1], yard.bulk.runs()):
        with yard.reading() as connection, statements(yard.engine) as seen:
            found = yard.ledger.reports.progress_of(connection, runs)
        assert all(one.later for one in found.values())
        asked.append(len(seen))
    assert asked[0] == asked[1]


def test_a_cancelled_run_whose_twin_callback_needs_a_worker_says_so(yard: Yard) -> None:
    handle = yard.submit(yard.job(failed=lambda _run: None))
    handle.cancel()
    assert handle.status() is RunStatus.FINISHING
    progress = handle.progress()
    assert progress.waits == "its failed() is still to be called, and no worker is running"
    assert "waiting: its failed() is still to be called" in words.status(progress)
    (said,) = (one for one in yard.bulk.doctor() if f"Run {handle.id} of" in one.what)
    assert said.what.endswith("has no chunk left to do, but its failed() is still to be called.")
    assert said.remedy == "Start a worker with -Q celery: it is called there."
    yard.settle(handle)
    assert handle.status() is RunStatus.CANCELLED
