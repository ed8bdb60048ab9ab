"""Lanes at work: taking a place in a run, and leaving it.

A message only says "come and work". Which run a lane works for, and whether it is needed at all,
is decided here. The key of the table is the cap: numbers 0 to wanted - 1, each taken once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.domain.chunk import RunId
from breakbulk.domain.status import STOPPING, RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock
from breakbulk.ledger.startable import MOST_LANES, ahead, held, present, startable, unfinished


@dataclass(frozen=True, slots=True)
class Lane:
    """A place in a run, held by one process until it signs off."""

    run_id: RunId
    number: int
    token: UUID
    worker_id: UUID
    pid: int
    process_started: float

    @property
    def label(self) -> str:
        """The name of its database sessions; at most 63 bytes are kept of one."""
        return f"breakbulk lane {self.token}"


@dataclass(frozen=True, slots=True)
class Demand:
    """A run that could use lanes.

    Attributes:
        job: its job's name.
        queue: where its lanes are sent.
        wanted: lanes it may have at once now.
        present: lanes it has.
    """

    run_id: RunId
    job: str
    queue: str
    wanted: int
    present: int


class Lanes:
    """The lanes of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def demand(
        self,
        connection: Connection,
        slots: dict[tuple[str, str], int],
        *,
        queue: str | None = None,
        jobs: Collection[str] | None = None,
    ) -> list[Demand]:
        """Runs with work that lanes could do now, those with the fewest of their lanes first.

        Among equals it is the turn of the one that no lane has come to for longest.

        Args:
            slots: of live workers by queue and job; a run gets that many lanes at most, or its own
                ``max_lanes`` if that is less. A queue nobody is known for counts as one slot.
            queue: only runs of this queue.
            jobs: only runs of these jobs: what this process has code for.
        """
        schema = self._database.schema
        runs, carves, waiting = schema.runs, schema.carves, schema.waiting
        # Asked once: a clock that moves is nothing to look up in an index. And no further than
        # there are lanes: a broken deploy has tens of thousands wait.
        now = select(clock()).scalar_subquery()
        some = (
            select(waiting.c.number)
            .where(waiting.c.run_id == runs.c.id, waiting.c.not_before <= now)
            .order_by(waiting.c.not_before)
            .limit(MOST_LANES)
            .correlate(runs)
            .subquery()
        )
        due = select(func.count()).select_from(some).scalar_subquery()
        query = (
            select(
                runs.c.id,
                runs.c.job,
                runs.c.queue,
                runs.c.status,
                runs.c.max_lanes,
                runs.c.throttled_to,
                runs.c.served_at,
                carves.c.exhausted_at.is_(None).label("fresh"),
                due.label("due"),
                held(schema).label("held"),
                present(schema).label("present"),
                unfinished(schema).label("unfinished"),
                ahead(schema).label("ahead"),
            )
            .join(carves, carves.c.run_id == runs.c.id)
            .where(startable(schema))
        )
        if queue is not None:
            query = query.where(runs.c.queue == queue)
        if jobs is not None:
            query = query.where(runs.c.job.in_(list(jobs)))
        found = []
        served: dict[RunId, float] = {}
        for row in connection.execute(query):
            cap = max(slots.get((row.queue, row.job), 1), 1)
            if row.max_lanes is not None:
                cap = min(cap, row.max_lanes)
            if row.throttled_to is not None:
                cap = min(cap, row.throttled_to)
            # What lanes hold and cannot have begun, others may take over.
            open_to_others = row.due + max(row.held - row.present, 0)
            if row.status == str(RunStatus.FINISHING):
                wanted = 1
            elif row.fresh and row.ahead:
                wanted = cap
            elif open_to_others:
                wanted = min(cap, row.present + open_to_others)
            else:
                # Everything is carved and in somebody's hands; or done, and nobody has asked yet.
                # Or its source has given nothing new yet: whoever reads it asks for lanes.
                wanted = row.present if row.unfinished or not row.ahead else 1
            if wanted > row.present:
                run_id = RunId(row.id)
                served[run_id] = row.served_at.timestamp() if row.served_at else 0.0
                found.append(Demand(run_id, row.job, row.queue, wanted, row.present))
        # Not the database's task: to have them in order SQLite reads every run there ever was.
        return sorted(
            found, key=lambda one: (one.present / one.wanted, served[one.run_id], one.run_id)
        )

    def now(self, connection: Connection) -> datetime:
        """The database's clock."""
        found: datetime = connection.execute(select(clock())).scalar_one()
        return found

    def enter(self, connection: Connection, lane: Lane) -> bool:
        """Take the numbered place; False when somebody has it."""
        dialect = postgresql if self._database.is_postgresql else sqlite
        table = self._database.schema.lanes
        result = connection.execute(
            dialect.insert(table)
            .values(
                run_id=lane.run_id,
                number=lane.number,
                token=lane.token,
                worker_id=lane.worker_id,
                pid=lane.pid,
                process_started=lane.process_started,
                started_at=clock(),
            )
            .on_conflict_do_nothing()
            .returning(literal_column("1"))
        )
        return result.one_or_none() is not None

    def taken(self, connection: Connection, run_id: RunId) -> set[int]:
        """The numbers that are taken."""
        lanes = self._database.schema.lanes
        rows = connection.execute(select(lanes.c.number).where(lanes.c.run_id == run_id))
        return {int(number) for number in rows.scalars()}

    def leave(self, connection: Connection, token: UUID, *, worked: bool = True) -> bool:
        """Give the place up; False when it was taken away already.

        Args:
            worked: it was at chunks there, so it is kept who it was.
        """
        lanes = self._database.schema.lanes
        if worked:
            connection.execute(self._stay(token))
        return connection.execute(delete(lanes).where(lanes.c.token == token)).rowcount == 1

    def _stay(self, token: UUID) -> Insert:
        """Write down the stay that ends."""
        schema = self._database.schema
        lanes, workers, stays = schema.lanes, schema.workers, schema.stays
        ended = (
            select(
                lanes.c.run_id,
                lanes.c.number,
                workers.c.host,
                lanes.c.pid,
                lanes.c.started_at,
                clock(),
            )
            .join_from(lanes, workers, workers.c.id == lanes.c.worker_id, isouter=True)
            .where(lanes.c.token == token)
        )
        into = ["run_id", "lane", "host", "pid", "started_at", "ended_at"]
        return insert(stays).from_select(into, ended)

    def present(self, connection: Connection, token: UUID) -> bool:
        """Whether the lane still has its place."""
        lanes = self._database.schema.lanes
        return bool(connection.execute(select(exists().where(lanes.c.token == token))).scalar())

    def all(self, connection: Connection) -> list[Lane]:
        """Every lane at work, in the order of runs."""
        return self._read(connection)

    def count(self, connection: Connection) -> int:
        """How many lanes are at work, of all runs."""
        query = select(func.count()).select_from(self._database.schema.lanes)
        return int(connection.execute(query).scalar_one())

    def of_worker(self, connection: Connection, worker_id: UUID) -> list[Lane]:
        """All lanes that run in a worker's processes."""
        return self._read(connection, self._database.schema.lanes.c.worker_id == worker_id)

    def forced(self, connection: Connection, worker_id: UUID) -> set[UUID]:
        """Lanes of a worker whose run is cancelled with the chunks in hand."""
        lanes, runs = self._database.schema.lanes, self._database.schema.runs
        query = (
            select(lanes.c.token)
            .join(runs, runs.c.id == lanes.c.run_id)
            .where(
                lanes.c.worker_id == worker_id,
                runs.c.forced,
                runs.c.status == str(RunStatus.CANCELLING),
            )
        )
        return set(connection.execute(query).scalars())

    def any_in(self, connection: Connection, run_id: RunId) -> bool:
        """Whether a lane works for the run."""
        lanes = self._database.schema.lanes
        return bool(connection.execute(select(exists().where(lanes.c.run_id == run_id))).scalar())

    def at_rest(self, connection: Connection) -> list[tuple[RunId, RunStatus]]:
        """Runs that are being stopped and whose last lane has gone."""
        runs, lanes = self._database.schema.runs, self._database.schema.lanes
        rows = connection.execute(
            select(runs.c.id, runs.c.status).where(
                runs.c.finished_at.is_(None),
                runs.c.status.in_([str(status) for status in STOPPING]),
                ~exists().where(lanes.c.run_id == runs.c.id),
            )
        )
        return [(RunId(row.id), RunStatus(row.status)) for row in rows]

    def orphans(self, connection: Connection) -> list[Lane]:
        """Lanes whose worker is not registered any more."""
        lanes, workers = self._database.schema.lanes, self._database.schema.workers
        return self._read(connection, ~exists().where(workers.c.id == lanes.c.worker_id))

    def finishing(self, connection: Connection, token: UUID, run_id: RunId) -> bool:
        """Whether this lane is calling back for the run."""
        runs = self._database.schema.runs
        question = exists().where(runs.c.id == run_id, runs.c.finisher_lane == token)
        return bool(connection.execute(select(question)).scalar())

    def _read(self, connection: Connection, *where: ColumnElement[bool]) -> list[Lane]:
        lanes = self._database.schema.lanes
        query = select(lanes).where(*where).order_by(lanes.c.run_id, lanes.c.number)
        return [
            Lane(RunId(r.run_id), r.number, r.token, r.worker_id, r.pid, r.process_started)
            for r in connection.execute(query)
        ]
