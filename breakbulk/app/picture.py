"""All that is shown of a run or of a chunk, looked at once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from breakbulk.domain.chunk import Bounds, ChunkRef, RunId
from breakbulk.domain.chunkmap import ChunkMap
from breakbulk.domain.failed import FailureGroup
from breakbulk.domain.history import History
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.series import Series
from breakbulk.domain.sizing import SizeReport
from breakbulk.domain.webhook import Event
from breakbulk.ledger import Ledger
from breakbulk.ledger.reports import ActivityReport, ChunkReport
from breakbulk.ledger.stays import LaneReport
from breakbulk.runner.query import query_of
from breakbulk.runner.runtime import Runtime

_SIZES = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at a run.

    Attributes:
        groups: its failed attempts by exception and place, the most frequent first.
        slowest: the chunks that took longest, of the latest 2,000.
        activity: who did what to it, newest first.
        lanes: those at work, with their workers and what each has in hand.
        events: what somebody outside is told of it, newest first.
        sizes: the last changes of its chunk size, newest first; none where that is fixed.
    """

    run: Run
    progress: Progress
    map: ChunkMap
    series: Series
    groups: list[FailureGroup]
    slowest: list[ChunkReport]
    activity: list[ActivityReport]
    lanes: list[LaneReport]
    events: list[Event]
    sizes: list[SizeReport]


@dataclass(frozen=True, slots=True)
class ChunkPicture:
    """One look at a chunk.

    Attributes:
        parts: the chunk with all that it was split off from and into.
        history: all attempts at it that are on record.
        before, after: the names of the chunks beside it that were given up, too.
        sql: what gives exactly its rows; None where this process cannot write it.
    """

    run: Run
    chunk: ChunkReport
    parts: list[ChunkReport]
    history: History
    before: str | None
    after: str | None
    sql: str | None


def chunk_picture(runtime: Runtime, connection: Connection, ref: ChunkRef) -> ChunkPicture | None:
    """Look at a chunk; None if it is not there.

    Raises:
        RunNotFound: neither is its run.
    """
    ledger = runtime.ledger
    run = ledger.runs.get(connection, ref.run_id)
    parts = ledger.reports.parts(connection, ref)
    found = next((part for part in parts if part.path == ref.path), None)
    if found is None:
        return None
    before, after = ledger.reports.failed_beside(connection, ref)
    history = ledger.stays.history(connection, ref.run_id, found)
    sql = query_of(runtime, run, Bounds.decoded(found.after, found.upto))
    return ChunkPicture(run, found, parts, history, before, after, sql)


def picture(
    ledger: Ledger,
    connection: Connection,
    run_id: RunId,
    *,
    cells: int,
    slowest: int,
    activity: int,
    events: int,
) -> Picture:
    """Look at a run.

    Args:
        cells, slowest, activity, events: how many of them at most.

    Raises:
        RunNotFound: there is none.
    """
    run = ledger.runs.get(connection, run_id)
    progress = ledger.reports.progress(connection, run)
    return Picture(
        run,
        progress,
        ledger.charts.chunk_map(connection, run, progress, most=cells),
        ledger.charts.series(connection, run),
        ledger.failures.groups(connection, run_id),
        ledger.charts.slowest(connection, run_id, progress, slowest),
        ledger.reports.activity(connection, run_id, activity),
        ledger.stays.lanes(connection, run_id),
        ledger.deliveries.events(connection, run_id, events),
        [] if run.chunk_seconds is None else ledger.sizes.latest(connection, run_id, _SIZES),
    )
