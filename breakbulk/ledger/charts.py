"""What is drawn of a run: its map, its pace, its slowest chunks, at a bounded cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, cast, func, literal, select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.chunkmap import MOST_CELLS, ChunkMap, cells_for, lay_out
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.series import Series, origin, series, stretch
from breakbulk.domain.status import FINISHED, ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.reports import ChunkReport
from breakbulk.ledger.sql import clock, seconds_between

_NOT_DONE = [status for status in ChunkStatus if status is not ChunkStatus.SUCCEEDED]
#: Failures beyond so many are not drawn.
LATEST_FAILURES = 10_000
#: Chunks beyond so many are not compared.
LATEST_CHUNKS = 2_000
#: A page that shows a rate is drawn anew at least this often, in seconds: a rate goes stale.
_STALE = 5


class Charts:
    """Pictures of one ledger's runs. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def chunk_map(
        self, connection: Connection, run: Run, progress: Progress, *, most: int = MOST_CELLS
    ) -> ChunkMap:
        """A run's key range in at most so many cells.

        Only the index of chunks that are not done is read.
        """
        schema = self._database.schema
        chunks, carved = schema.chunks, progress.chunks_carved
        expected = -(-(progress.rows_total or 0) // run.chunk_size)
        # A run that has ended carves no more, whatever was expected.
        over = progress.total_is_exact or run.status in FINISHED
        total = carved if over else max(carved, expected)
        cells = cells_for(total, most)
        found: list[tuple[int, str, int]] = []
        if cells:
            number = cast(chunks.c.number - 1, BigInteger)
            place = cast(_floor_div(number * literal(cells, Integer), total), Integer)
            query = (
                select(place.label("place"), chunks.c.status, func.count().label("chunks"))
                .where(chunks.c.run_id == run.id, schema.open_chunks(_NOT_DONE))
                .group_by("place", chunks.c.status)
            )
            found = [(row.place, row.status, row.chunks) for row in connection.execute(query)]
        return lay_out(carved, total, exact=over, cells=cells, found=found)

    def series(self, connection: Connection, run: Run, folded_after: float) -> Series:
        """Rows and failures over the run's time; of failures only the latest 10,000."""
        schema = self._database.schema
        tallies, failures = schema.tallies, schema.failures
        begin = run.started_at or run.submitted_at
        end = run.finished_at or self._now(connection)
        elapsed = (end - begin).total_seconds()
        # Tallies stay as they were a little longer than that, until the steward comes round.
        seconds = stretch(elapsed, folded_after)
        begin = origin(begin, seconds)
        latest = (
            select(failures.c.at)
            .where(failures.c.run_id == run.id)
            .order_by(failures.c.id.desc())
            .limit(LATEST_FAILURES)
            .subquery()
        )
        rows = self._by_stretch(
            connection,
            tallies.c.at,
            func.sum(tallies.c.rows),
            begin,
            seconds,
            tallies.c.run_id == run.id,
        )
        failed = self._by_stretch(connection, latest.c.at, func.count(), begin, seconds)
        return series(begin, end, seconds, rows, failed)

    def slowest(
        self, connection: Connection, run_id: RunId, progress: Progress, limit: int = 10
    ) -> list[ChunkReport]:
        """The chunks that took longest, of the latest 2,000."""
        chunks = self._database.schema.chunks
        query = (
            select(*(chunks.c[name] for name in ChunkReport.__dataclass_fields__))
            .where(
                chunks.c.run_id == run_id,
                chunks.c.number > progress.chunks_carved - LATEST_CHUNKS,
                chunks.c.status == str(ChunkStatus.SUCCEEDED),
            )
            .order_by(chunks.c.seconds.desc())
            .limit(limit)
        )
        return [ChunkReport(**row) for row in connection.execute(query).mappings()]

    def tag(self, connection: Connection, run_id: RunId) -> str | None:
        """Changes whenever a look at the run would show something else; None: there is no run.

        One statement that reads a row each off a few indexes, so asking often costs little.
        """
        schema = self._database.schema
        runs, tallies, lanes = schema.runs, schema.tallies, schema.lanes
        at_work = select(func.count()).where(lanes.c.run_id == run_id).scalar_subquery()
        told = select(func.max(tallies.c.at)).where(tallies.c.run_id == run_id).scalar_subquery()
        query = select(
            runs.c.status,
            runs.c.round,
            runs.c.finished_at,
            told,
            at_work,
            self._last(schema.failures, run_id),
            self._last(schema.activity, run_id),
            self._last(schema.quarantine, run_id),
            clock(),
        ).where(runs.c.id == run_id)
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        *facts, now = row
        age = "" if row.finished_at is not None else int(now.timestamp()) // _STALE
        return "-".join(str(fact) for fact in (*facts, age))

    def tag_of_all(self, connection: Connection) -> str:
        """Changes whenever a look at the list of runs would show something else."""
        schema = self._database.schema
        newest = (
            select(func.max(table.c.id)).scalar_subquery()
            for table in (schema.runs, schema.activity, schema.tallies, schema.failures)
        )
        counted = (
            select(func.count()).select_from(table).scalar_subquery()
            for table in (schema.lanes, schema.workers)
        )
        *facts, now = connection.execute(select(*newest, *counted, clock())).one()
        return "-".join(str(fact) for fact in (*facts, int(now.timestamp()) // _STALE))

    def _last(self, table: Any, run_id: RunId) -> Any:
        return select(func.max(table.c.id)).where(table.c.run_id == run_id).scalar_subquery()

    def _now(self, connection: Connection) -> datetime:
        found: datetime = connection.execute(select(clock())).scalar_one()
        return found

    def _by_stretch(
        self,
        connection: Connection,
        at: ColumnElement[datetime],
        measure: ColumnElement[int],
        begin: datetime,
        seconds: int,
        *where: ColumnElement[bool],
    ) -> dict[int, int]:
        since = seconds_between(literal(begin, at.type), at)
        # What was folded into the minute in which the run began lies before its beginning.
        place = cast(func.floor(since / seconds), Integer).label("place")
        query = select(place, measure.label("measure")).where(*where).group_by("place")
        found: dict[int, int] = {}
        for row in connection.execute(query):
            found[max(row.place, 0)] = found.get(max(row.place, 0), 0) + int(row.measure)
        return found


def _floor_div(value: Any, by: int) -> Any:
    # Of positive numbers; both databases round down.
    return value // literal(by, BigInteger)
