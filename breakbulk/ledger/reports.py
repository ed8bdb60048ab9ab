"""What operators see: read models, each bounded in cost however many chunks a run has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    case,
    func,
    or_,
    select,
    tuple_,
)

from breakbulk.domain.chunk import ChunkRef, RunId, chunk_name
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.paging import newest_first
from breakbulk.ledger.progress import progress_of


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
        values = {"name": self.name, **asdict(self)}
        values["ended_at"] = None if self.ended_at is None else self.ended_at.isoformat()
        return values


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Who did what to a run, when and why."""

    id: int
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
        """How far a run is."""
        return progress_of(self._database, connection, [run])[run.id]

    def progress_of(self, connection: Connection, runs: Sequence[Run]) -> dict[RunId, Progress]:
        """How far each of these runs is, in a handful of statements."""
        return progress_of(self._database, connection, runs)

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
            wanted = frozenset(statuses)
            query = query.where(
                chunks.c.status.in_([str(status) for status in wanted])
                if ChunkStatus.SUCCEEDED in wanted
                else self._database.schema.open_chunks(sorted(wanted))
            )
        if after is not None:
            # Row by row, as the key sorts: with OR the database would read from the first chunk on.
            query = query.where(tuple_(chunks.c.number, chunks.c.path) > after)
        return [ChunkReport(**row) for row in connection.execute(query).mappings()]

    def parts(self, connection: Connection, ref: ChunkRef) -> list[ChunkReport]:
        """A chunk, the chunks it was split off from, and what it was split into."""
        chunks = self._database.schema.chunks
        ancestors = [ref.path[:length] for length in range(len(ref.path))]
        query = (
            select(*(chunks.c[name] for name in ChunkReport.__dataclass_fields__))
            .where(
                chunks.c.run_id == ref.run_id,
                chunks.c.number == ref.number,
                or_(chunks.c.path.in_(ancestors), chunks.c.path.startswith(ref.path)),
            )
            .order_by(chunks.c.path)
        )
        return [ChunkReport(**row) for row in connection.execute(query).mappings()]

    def failed_beside(self, connection: Connection, ref: ChunkRef) -> tuple[str | None, str | None]:
        """The names of the chunks before and after one that were given up, too."""
        chunks = self._database.schema.chunks
        place = tuple_(chunks.c.number, chunks.c.path)
        found: dict[bool, list[tuple[int, str]]] = {True: [], False: []}
        for status, beyond in product((ChunkStatus.FAILED, ChunkStatus.SKIPPED), (False, True)):
            order = (chunks.c.number, chunks.c.path)
            here = (ref.number, ref.path)
            query = (
                select(*order)
                .where(
                    chunks.c.run_id == ref.run_id,
                    self._database.schema.open_chunks(),
                    # One status at a time: the index has its chunks in order.
                    chunks.c.status == str(status),
                    place > here if beyond else place < here,
                )
                .order_by(*(order if beyond else (column.desc() for column in order)))
                .limit(1)
            )
            found[beyond] += [(row.number, row.path) for row in connection.execute(query)]
        before, after = max(found[False], default=None), min(found[True], default=None)
        return (before and chunk_name(*before), after and chunk_name(*after))

    def activity(
        self, connection: Connection, run_id: RunId, limit: int = 50, *, before: int | None = None
    ) -> list[ActivityReport]:
        """The latest changes, newest first, those before the one with this id."""
        activity = self._database.schema.activity
        query = select(*(activity.c[name] for name in ActivityReport.__dataclass_fields__))
        of_run = {activity.c.run_id: run_id}
        query = newest_first(query, activity.c.id, of_run, before).limit(limit)
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
