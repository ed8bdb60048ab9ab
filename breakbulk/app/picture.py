"""All that is shown of a run, looked at once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.chunkmap import ChunkMap
from breakbulk.domain.failed import FailureGroup
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.series import Series
from breakbulk.domain.webhook import Event
from breakbulk.ledger import Ledger
from breakbulk.ledger.reports import ActivityReport, ChunkReport
from breakbulk.ledger.stays import LaneReport


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at a run.

    Attributes:
        groups: its failed attempts by exception and place, the most frequent first.
        slowest: the chunks that took longest, of the latest 2,000.
        activity: who did what to it, newest first.
        lanes: those at work, with their workers and what each has in hand.
        events: what somebody outside is told of it, newest first.
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
    )
