"""Who works, and who worked: lanes with their workers, and the attempts at one chunk.

No row says who has done a chunk: it names its lane, and lanes leave word of their stays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, select

from breakbulk.domain.chunk import ChunkRef, RunId, chunk_name
from breakbulk.domain.history import Attempt, AttemptState, History, began, failed_attempts
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.charts import LATEST_CHUNKS
from breakbulk.ledger.database import Database
from breakbulk.ledger.failures import Failures
from breakbulk.ledger.reports import ChunkReport
from breakbulk.ledger.sql import clock

#: Of so many chunks in hands the lowest of each lane are looked for.
_IN_HANDS = 5_000
#: Of one chunk; more than there are tries, unless somebody insists.
_FAILURES = 50


@dataclass(frozen=True, slots=True)
class LaneReport:
    """A lane at work, as operators see it.

    Attributes:
        host: its worker's machine; None when the worker is not registered any more.
        since: when it came.
        chunk: the name of the chunk in hand; None: it has none.
    """

    number: int
    host: str | None
    pid: int
    pool: str | None
    version: str | None
    since: datetime
    chunk: str | None

    @property
    def worker(self) -> str:
        """The machine and the process."""
        return _worker(self.host, self.pid)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"since": self.since.isoformat()}


class Stays:
    """The stays of one ledger's lanes. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._failures = Failures(database)

    def lanes(self, connection: Connection, run_id: RunId) -> list[LaneReport]:
        """A run's lanes at work, with the chunk that each has in hand."""
        lanes, workers = self._database.schema.lanes, self._database.schema.workers
        query = (
            select(
                lanes.c.number,
                workers.c.host,
                lanes.c.pid,
                workers.c.pool,
                workers.c.version,
                lanes.c.started_at.label("since"),
            )
            .join_from(lanes, workers, workers.c.id == lanes.c.worker_id, isouter=True)
            .where(lanes.c.run_id == run_id)
            .order_by(lanes.c.number)
        )
        rows = connection.execute(query).mappings().all()
        held = self._in_hand(connection, run_id) if rows else {}
        return [LaneReport(**row, chunk=held.get(row["number"])) for row in rows]

    def history(self, connection: Connection, run_id: RunId, chunk: ChunkReport) -> History:
        """All attempts at a chunk that are on record; of those that failed the latest 50."""
        now: datetime = connection.execute(select(clock())).scalar_one()
        ref = ChunkRef(run_id, chunk.number, chunk.path)
        failures = self._failures.latest(connection, run_id, chunk=ref, limit=_FAILURES)
        found = failed_attempts(failures)
        number = chunk.attempt + self._agains(connection, ref)
        if chunk.status == ChunkStatus.SUCCEEDED and chunk.ended_at is not None:
            worker = self._worker_of(connection, ref, chunk.lane, chunk.ended_at)
            first = began(chunk.ended_at, chunk.seconds)
            state = AttemptState.SUCCEEDED
            found.append(Attempt(number, state, first, chunk.ended_at, worker=worker))
        elif chunk.status == ChunkStatus.CARVED:
            found.append(self._under_way(connection, run_id, chunk, number))
        elif chunk.status == ChunkStatus.WAITING:
            waits = self._waits(connection, ref)
            if waits is not None and waits.spent:
                return History(found, now, spent=True)
            due = waits and waits.not_before
            found.append(Attempt(number + 1, AttemptState.WAITING, due=due))
        return History(found, now)

    def _in_hand(self, connection: Connection, run_id: RunId) -> dict[int, str]:
        """The chunk that each lane is at: a lane works in order, so it is its lowest."""
        chunks = self._database.schema.chunks
        held = (
            select(chunks.c.lane, chunks.c.number, chunks.c.path)
            .where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.CARVED]),
            )
            .order_by(chunks.c.number, chunks.c.path)
            .limit(_IN_HANDS)
            .subquery()
        )
        order = (held.c.number, held.c.path)
        place = func.row_number().over(partition_by=held.c.lane, order_by=order).label("place")
        lined_up = select(held, place).subquery()
        rows = connection.execute(select(lined_up).where(lined_up.c.place == 1))
        return {row.lane: chunk_name(row.number, row.path) for row in rows}

    def _under_way(
        self, connection: Connection, run_id: RunId, chunk: ChunkReport, number: int
    ) -> Attempt:
        """The attempt that a chunk is in somebody's hands for."""
        schema = self._database.schema
        found = [one for one in self.lanes(connection, run_id) if one.number == chunk.lane]
        if not found:
            # Its lane has gone, and nobody has taken it back yet.
            return Attempt(number, AttemptState.CLAIMED)
        (lane,) = found
        if lane.chunk != chunk.name:
            return Attempt(number, AttemptState.CLAIMED, worker=lane.worker)
        chunks = schema.chunks
        newest = (
            select(chunks.c.number)
            .where(chunks.c.run_id == run_id)
            .order_by(chunks.c.number.desc())
            .limit(1)
            .scalar_subquery()
        )
        # No row says when it began: that is when the lane was done with the one before.
        before = connection.execute(
            select(func.max(chunks.c.ended_at)).where(
                chunks.c.run_id == run_id,
                chunks.c.number > newest - LATEST_CHUNKS,
                chunks.c.lane == chunk.lane,
            )
        ).scalar()
        since = lane.since if before is None else max(lane.since, before)
        return Attempt(number, AttemptState.RUNNING, since, worker=lane.worker)

    def _worker_of(
        self, connection: Connection, ref: ChunkRef, lane: int | None, ended: datetime
    ) -> str | None:
        """Who had the lane when a chunk was done; None: that is not on record."""
        if lane is None:
            return None
        schema = self._database.schema
        chunks, stays, lanes, workers = schema.chunks, schema.stays, schema.lanes, schema.workers
        # Not bound: SQLite compares times as text, and writes bound ones with more digits.
        at = select(chunks.c.ended_at).where(
            chunks.c.run_id == ref.run_id,
            chunks.c.number == ref.number,
            chunks.c.path == ref.path,
        )
        over = (
            select(stays.c.host, stays.c.pid, stays.c.started_at)
            .where(
                stays.c.run_id == ref.run_id,
                stays.c.lane == lane,
                stays.c.ended_at >= at.scalar_subquery(),
            )
            .order_by(stays.c.ended_at)
            .limit(1)
        )
        goes_on = (
            select(workers.c.host, lanes.c.pid, lanes.c.started_at)
            .join_from(lanes, workers, workers.c.id == lanes.c.worker_id, isouter=True)
            .where(lanes.c.run_id == ref.run_id, lanes.c.number == lane)
        )
        for query in (over, goes_on):
            row = connection.execute(query).one_or_none()
            if row is not None and row.started_at <= ended:
                return _worker(row.host, row.pid)
        return None

    def _agains(self, connection: Connection, ref: ChunkRef) -> int:
        """Attempts of the run's round that asked for another one, and so cost no try."""
        states, runs = self._database.schema.item_states, self._database.schema.runs
        of_round = and_(runs.c.id == states.c.run_id, runs.c.round == states.c.round)
        query = (
            select(states.c.agains)
            .join(runs, of_round)
            .where(states.c.run_id == ref.run_id, states.c.number == ref.number)
        )
        return int(connection.execute(query).scalar() or 0)

    def _waits(self, connection: Connection, ref: ChunkRef) -> Any:
        waiting = self._database.schema.waiting
        query = select(waiting.c.not_before, waiting.c.spent).where(
            waiting.c.run_id == ref.run_id,
            waiting.c.number == ref.number,
            waiting.c.path == ref.path,
        )
        return connection.execute(query).one_or_none()


def _worker(host: str | None, pid: int) -> str:
    return f"{host or 'unknown'}/{pid}"
