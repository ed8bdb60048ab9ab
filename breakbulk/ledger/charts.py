"""What is drawn of a run: its map, its pace, its slowest chunks, at a bounded cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    cast,
    func,
    literal,
    select,
    union_all,
)

from breakbulk.domain.chunk import RunId
from breakbulk.domain.chunkmap import MOST_CELLS, ChunkMap, cells_for, lay_out
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.series import Series, origin, series, stretch
from breakbulk.domain.status import FINISHED, ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.paging import newest_first
from breakbulk.ledger.reports import ChunkReport
from breakbulk.ledger.sizes import Sizes
from breakbulk.ledger.sql import clock, seconds_between

_NOT_DONE = [status for status in ChunkStatus if status is not ChunkStatus.SUCCEEDED]
#: Chunks beyond so many are not compared.
LATEST_CHUNKS = 2_000
#: SQLite reckons with days in floating point.
_ROUNDING = 0.0005
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

        Only the index of chunks that are not done is read, and of that no more than a few entries
        for each cell.
        """
        carved = progress.chunks_carved
        expected = self._expected(connection, run, progress)
        # A run that has ended carves no more, whatever was expected.
        over = progress.total_is_exact or run.status in FINISHED
        total = carved if over else max(carved, expected)
        cells = cells_for(total, most)
        found = self._found(connection, run.id, total, cells) if cells else []
        return lay_out(carved, total, exact=over, cells=cells, found=found)

    def _expected(self, connection: Connection, run: Run, progress: Progress) -> int:
        """How many chunks there will be, as far as one can tell."""
        if run.chunk_seconds is None:
            return -(-(progress.rows_total or 0) // run.chunk_size)
        size = Sizes(self._database).current(connection, run.id, run.chunk_size).rows
        left = max(0, (progress.rows_total or 0) - progress.rows_done)
        return progress.chunks_done + -(-left // size)

    def _found(
        self, connection: Connection, run_id: RunId, total: int, cells: int
    ) -> list[tuple[int, str]]:
        """Which states there are in which cells, done being none of them.

        From the first chunk in a state the query hops to the first one beyond its cell, and so on.
        """
        schema = self._database.schema
        chunks = schema.chunks

        def first(status: Any, beyond: Any) -> Any:
            return (
                select(chunks.c.number)
                .where(
                    chunks.c.run_id == run_id,
                    schema.open_chunks(),
                    chunks.c.status == status,
                    chunks.c.number > beyond,
                )
                .order_by(chunks.c.number)
                .limit(1)
            )

        states = union_all(*(select(literal(str(one)).label("status")) for one in _NOT_DONE))
        begun = states.subquery("states")
        hops = select(
            begun.c.status, first(begun.c.status, 0).scalar_subquery().label("number")
        ).cte("hops", recursive=True)
        place = _place(hops.c.number, total, cells)
        # The last number of a cell: the inverse of its place.
        edge = _floor_div((place + 1) * literal(total, BigInteger) + (cells - 1), cells)
        hops = hops.union_all(
            select(hops.c.status, first(hops.c.status, edge).scalar_subquery()).where(
                hops.c.number.is_not(None)
            )
        )
        query = select(_place(hops.c.number, total, cells).label("place"), hops.c.status).where(
            hops.c.number.is_not(None)
        )
        return [(int(row.place), row.status) for row in connection.execute(query)]

    def series(self, connection: Connection, run: Run) -> Series:
        """Rows and failed attempts over the run's time."""
        tallies = self._database.schema.tallies
        failures = self._database.schema.failure_tallies
        begin = run.started_at or run.submitted_at
        end = run.finished_at or self._now(connection)
        seconds = stretch((end - begin).total_seconds())
        begin = origin(begin, seconds)
        rows = self._by_stretch(connection, run.id, (tallies.c.at, tallies.c.rows), begin, seconds)
        told = (failures.c.first_at, failures.c.attempts)
        failed = self._by_stretch(connection, run.id, told, begin, seconds)
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

    def longest_lately(self, connection: Connection, job: str) -> float | None:
        """Seconds of the longest of the latest 2,000 chunks of a job's newest run."""
        runs, chunks = self._database.schema.runs, self._database.schema.chunks
        newest = select(func.max(runs.c.id)).where(runs.c.job == job).scalar_subquery()
        last = select(func.max(chunks.c.number)).where(chunks.c.run_id == newest).scalar_subquery()
        query = select(func.max(chunks.c.seconds)).where(
            chunks.c.run_id == newest,
            chunks.c.number > last - LATEST_CHUNKS,
            chunks.c.status == str(ChunkStatus.SUCCEEDED),
        )
        seconds = connection.execute(query).scalar()
        return None if seconds is None else float(seconds)

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
        """Changes whenever a look at the list of runs or of workers would show something else."""
        schema = self._database.schema
        newest = (
            select(func.max(table.c.id)).scalar_subquery()
            for table in (schema.runs, schema.activity, schema.tallies, schema.failures)
        )
        counted = (
            select(func.count()).select_from(table).where(*where).scalar_subquery()
            for table, where in (
                (schema.lanes, ()),
                (schema.workers, ()),
                (schema.workers, (schema.workers.c.draining,)),
            )
        )
        *facts, now = connection.execute(select(*newest, *counted, clock())).one()
        return "-".join(str(fact) for fact in (*facts, int(now.timestamp()) // _STALE))

    def _last(self, table: Any, run_id: RunId) -> Any:
        query = newest_first(select(table.c.id), table.c.id, {table.c.run_id: run_id})
        return query.limit(1).scalar_subquery()

    def _now(self, connection: Connection) -> datetime:
        found: datetime = connection.execute(select(clock())).scalar_one()
        return found

    def _by_stretch(
        self,
        connection: Connection,
        run_id: RunId,
        told: tuple[Column[datetime], Column[int]],
        begin: datetime,
        seconds: int,
    ) -> dict[int, int]:
        """How much there was in which stretch, by its number."""
        at, measure = told
        since = seconds_between(literal(begin, at.type), at)
        number = cast(func.floor((since + _ROUNDING) / float(seconds)), Integer).label("stretch")
        query = (
            select(number, func.sum(measure).label("measure"))
            .where(at.table.c.run_id == run_id)
            .group_by("stretch")
        )
        return {max(row.stretch, 0): int(row.measure) for row in connection.execute(query)}


def _place(number: Any, total: int, cells: int) -> Any:
    """The cell that a chunk lies in."""
    before = cast(number - 1, BigInteger)
    return cast(_floor_div(before * literal(cells, BigInteger), total), BigInteger)


def _floor_div(value: Any, by: int) -> Any:
    # Of positive numbers; both databases round down.
    return value // literal(by, BigInteger)
