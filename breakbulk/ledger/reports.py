"""What operators see: read models, each bounded in cost however many chunks a run has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Text,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    text,
)

from breakbulk.domain.chunk import RunId, chunk_name
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, UNFINISHED_CHUNK, ChunkStatus, RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between
from breakbulk.ledger.workers import Workers

#: The rate is that of the last seconds: long enough to be steady, short enough to be true.
RATE_WINDOW = 10.0
_NEEDS_LANES = frozenset({RunStatus.LOADING, RunStatus.RUNNING, RunStatus.FINISHING})


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """A chunk as operators see it. Bounds are encoded keys."""

    number: int
    path: str
    status: str
    after: str | None
    upto: str
    rows: int
    attempt: int
    losses: int
    lane: int | None
    seconds: float | None
    ended_at: datetime | None

    @property
    def name(self) -> str:
        """What the chunk is called."""
        return chunk_name(self.number, self.path)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self)
        values["ended_at"] = None if self.ended_at is None else self.ended_at.isoformat()
        return values


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Who did what to a run, when and why."""

    at: datetime
    actor: str
    verb: str
    detail: str | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"at": self.at.isoformat()}


class Reports:
    """Read models of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def progress(self, connection: Connection, run: Run) -> Progress:
        """How far a run is.

        Rows and chunks done are the tallies' sums while it goes on and the exact count once it
        has ended. The total is read off the last chunk, which knows all rows up to itself.
        """
        schema = self._database.schema
        tallies, chunks, carves = schema.tallies, schema.chunks, schema.carves
        sums = connection.execute(
            select(
                func.coalesce(func.sum(tallies.c.rows), 0).label("rows"),
                func.coalesce(func.sum(tallies.c.chunks), 0).label("chunks"),
            ).where(tallies.c.run_id == run.id)
        ).one()
        last = connection.execute(
            select(chunks.c.number, chunks.c.rows_upto)
            .where(chunks.c.run_id == run.id)
            .order_by(chunks.c.number.desc(), chunks.c.path.desc())
            .limit(1)
        ).one_or_none()
        exhausted = bool(
            connection.execute(
                select(carves.c.exhausted_at.is_not(None)).where(carves.c.run_id == run.id)
            ).scalar()
        )
        carved_rows = int(last.rows_upto) if last else 0
        total = carved_rows if exhausted else max(run.rows_estimate or 0, carved_rows) or None
        ended = run.status in FINISHED and run.summary is not None
        rows_done, chunks_done = int(sums.rows), int(sums.chunks)
        if ended and run.summary is not None:
            rows_done, chunks_done = run.summary.rows_done, run.summary.chunks_done
        if total is not None:
            rows_done = min(rows_done, total)
        counts = self._open_counts(connection, run.id)
        lanes = self._lanes(connection, run.id)
        return Progress(
            status=run.status,
            reason=run.reason,
            rows_done=rows_done,
            rows_total=total,
            total_is_exact=exhausted,
            chunks_done=chunks_done,
            chunks_carved=last.number if last else 0,
            chunks_failed=counts.get(str(ChunkStatus.FAILED), 0),
            chunks_waiting=counts.get(str(ChunkStatus.WAITING), 0),
            lanes=lanes,
            waits=self._waits(connection, run, lanes),
            rate=0.0 if run.status in FINISHED else self._rate(connection, run.id),
            elapsed=self._elapsed(connection, run.id),
        )

    def chunks(
        self,
        connection: Connection,
        run_id: RunId,
        *,
        statuses: Iterable[ChunkStatus] | None = None,
        after: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[ChunkReport]:
        """A page of chunks in order of their keys, those after ``(number, path)``."""
        chunks = self._database.schema.chunks
        query: Select[Any] = (
            select(*(chunks.c[name] for name in ChunkReport.__dataclass_fields__))
            .where(chunks.c.run_id == run_id)
            .order_by(chunks.c.number, chunks.c.path)
            .limit(limit)
        )
        if statuses is not None:
            query = query.where(chunks.c.status.in_([str(status) for status in statuses]))
        if after is not None:
            number, path = after
            beyond = and_(chunks.c.number == number, chunks.c.path > path)
            query = query.where(or_(chunks.c.number > number, beyond))
        return [ChunkReport(**row) for row in connection.execute(query).mappings()]

    def activity(
        self, connection: Connection, run_id: RunId, limit: int = 50
    ) -> list[ActivityReport]:
        """The latest changes, newest first."""
        activity = self._database.schema.activity
        query = (
            select(*(activity.c[name] for name in ActivityReport.__dataclass_fields__))
            .where(activity.c.run_id == run_id)
            .order_by(activity.c.id.desc())
            .limit(limit)
        )
        return [ActivityReport(**row) for row in connection.execute(query).mappings()]

    def misfits(self, connection: Connection, run_id: RunId, limit: int = 20) -> list[Any]:
        """Chunks that do not begin where their neighbour ends, and the one that ends wrong.

        Bounds are compared as text: a key has one encoding. Chunks that were split do not
        count, their halves do. Rows: number, path, after, upto, expected lower bound, and
        whether the next chunk or the run's end is missed.
        """
        chunks, runs = self._database.schema.chunks, self._database.schema.runs
        order = (chunks.c.number, chunks.c.path)
        lined_up = (
            select(
                chunks.c.number,
                chunks.c.path,
                chunks.c.after,
                chunks.c.upto,
                chunks.c.rows,
                func.lag(chunks.c.upto).over(order_by=order).label("expected"),
                func.row_number().over(order_by=order).label("place"),
                func.lead(chunks.c.number).over(order_by=order).label("following"),
            )
            .where(chunks.c.run_id == run_id, chunks.c.status != str(ChunkStatus.SPLIT))
            .subquery()
        )
        until = select(runs.c.until).where(runs.c.id == run_id).scalar_subquery()
        first_wrong = and_(lined_up.c.place == 1, lined_up.c.after.is_not(None))
        gap = and_(lined_up.c.place > 1, lined_up.c.after.is_distinct_from(lined_up.c.expected))
        empty = lined_up.c.after == lined_up.c.upto
        short = and_(lined_up.c.following.is_(None), lined_up.c.upto != until)
        query = (
            select(
                lined_up,
                case((short, True), else_=False).label("short"),
                until.label("until"),
            )
            .where(or_(first_wrong, gap, empty, short))
            .order_by(lined_up.c.number, lined_up.c.path)
            .limit(limit)
        )
        return list(connection.execute(query))

    def fold_tallies(self, connection: Connection, older_than: float) -> int:
        """Replace tallies older than that many seconds by one for each run and minute.

        Reading the progress of a run of many hours stays cheap, and its history is kept. What is
        written is the sum of what was deleted, so two who fold at once count nothing twice.
        """
        tallies = self._database.schema.tallies
        # Whole minutes, so that each is folded once.
        edge = clock(-older_than)
        minute: Any = (
            func.date_trunc("minute", edge)
            if self._database.is_postgresql
            else func.strftime("%Y-%m-%d %H:%M:00.000", edge, type_=Text())
        )
        gone = connection.execute(
            delete(tallies)
            # The condition as the index has it.
            .where(text("lane >= 0"), tallies.c.at < select(minute).scalar_subquery())
            .returning(tallies.c.run_id, tallies.c.at, tallies.c.chunks, tallies.c.rows)
        ).all()
        folded: dict[tuple[int, datetime], list[int]] = {}
        for one in gone:
            sums = folded.setdefault((one.run_id, one.at.replace(second=0, microsecond=0)), [0, 0])
            sums[0] += one.chunks
            sums[1] += one.rows
        if folded:
            connection.execute(
                insert(tallies),
                [
                    {"run_id": run_id, "at": at, "lane": -1, "chunks": chunks, "rows": rows}
                    for (run_id, at), (chunks, rows) in folded.items()
                ],
            )
        return len(gone)

    def _open_counts(self, connection: Connection, run_id: RunId) -> dict[str, int]:
        # Counted in the index of chunks that are not done.
        chunks = self._database.schema.chunks
        shown = self._database.schema.open_chunks([ChunkStatus.FAILED, *UNFINISHED_CHUNK])
        rows = connection.execute(
            select(chunks.c.status, func.count())
            .where(chunks.c.run_id == run_id, shown)
            .group_by(chunks.c.status)
        )
        return {row[0]: int(row[1]) for row in rows}

    def _lanes(self, connection: Connection, run_id: RunId) -> int:
        lanes = self._database.schema.lanes
        query = select(func.count()).where(lanes.c.run_id == run_id)
        return int(connection.execute(query).scalar_one())

    def _waits(self, connection: Connection, run: Run, lanes: int) -> str | None:
        frozen = None if run.status in FINISHED else self._database.frozen_writer()
        if frozen is not None:
            return f"process {frozen}, which is stopped, holds SQLite's only writer"
        if lanes or run.status not in _NEEDS_LANES:
            return None
        workers = [one for one in Workers(self._database).live(connection) if not one.draining]
        consumers = [one for one in workers if run.queue in one.queues]
        if any(run.job in one.jobs for one in consumers):
            return None
        if consumers:
            return f"no worker on the queue {run.queue!r} has the code of {run.job}"
        return f"no worker consumes the queue {run.queue!r}" if workers else "no worker is running"

    def _rate(self, connection: Connection, run_id: RunId) -> float:
        tallies = self._database.schema.tallies
        row = connection.execute(
            select(
                func.sum(tallies.c.rows).label("rows"),
                seconds_between(func.min(tallies.c.at), clock()).label("seconds"),
            ).where(tallies.c.run_id == run_id, tallies.c.at >= clock(-RATE_WINDOW))
        ).one()
        if not row.rows or row.seconds is None:
            return 0.0
        # The first tally of the window stands for about a second before it.
        return float(row.rows) / max(float(row.seconds) + 1.0, 1.0)

    def _elapsed(self, connection: Connection, run_id: RunId) -> float:
        runs = self._database.schema.runs
        end = func.coalesce(runs.c.finished_at, clock())
        query = select(seconds_between(runs.c.submitted_at, end)).where(runs.c.id == run_id)
        return float(connection.execute(query).scalar_one())
