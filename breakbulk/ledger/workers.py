"""Workers and their leases, and who leads.

A lease is a promise to be heard from. It is kept by the worker's main process, not by the chunk,
so that a chunk may take as long as it likes. Leadership is a lease row as well, not a session
lock: a forked child would keep the socket of a session lock open after its parent's death.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, case, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock


@dataclass(frozen=True, slots=True)
class Worker:
    """A Celery worker as it registers itself.

    Attributes:
        id: drawn anew at each start.
        slots: how many tasks it runs at once.
        queues: what it consumes.
        jobs: the names of the jobs it has code for.
        version: of Breakbulk.
        draining: it is shutting down and takes no more work.
        settings: how it is set up: Celery's settings as they are in force, without secrets, and
            ``grace_seconds``, if it knows how long it has to shut down. None: it does not say.
    """

    id: UUID
    host: str
    pid: int
    slots: int
    pool: str
    queues: tuple[str, ...]
    jobs: tuple[str, ...]
    version: str
    draining: bool = False
    lease_until: datetime | None = None
    settings: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        lease = None if self.lease_until is None else self.lease_until.isoformat()
        lists = {"queues": list(self.queues), "jobs": list(self.jobs)}
        told = asdict(self) | lists | {"id": str(self.id), "lease_until": lease}
        del told["settings"]
        return told


class Workers:
    """The workers of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, connection: Connection, worker: Worker, lease_seconds: float) -> None:
        """Register the worker or extend its lease.

        ``healthy_since`` starts again whenever the old lease had run out before.
        """
        workers = self._database.schema.workers
        dialect = postgresql if self._database.is_postgresql else sqlite
        statement = dialect.insert(workers).values(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            slots=worker.slots,
            pool=worker.pool,
            queues=json.dumps(worker.queues),
            jobs=json.dumps(worker.jobs),
            version=worker.version,
            registered_at=clock(),
            healthy_since=clock(),
            lease_until=clock(lease_seconds),
            draining=worker.draining,
            settings=None if worker.settings is None else json.dumps(worker.settings),
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={
                    "lease_until": clock(lease_seconds),
                    "healthy_since": case(
                        (workers.c.lease_until >= clock(), workers.c.healthy_since), else_=clock()
                    ),
                    "slots": worker.slots,
                    "jobs": json.dumps(worker.jobs),
                    "queues": json.dumps(worker.queues),
                    "draining": worker.draining,
                },
            )
        )

    def lead(self, connection: Connection, worker_id: UUID, lease_seconds: float) -> bool:
        """Become or stay the leader."""
        leader = self._database.schema.leader
        result = connection.execute(
            update(leader)
            .where(
                or_(
                    leader.c.worker_id.is_(None),
                    leader.c.worker_id == worker_id,
                    leader.c.lease_until < clock(),
                )
            )
            .values(worker_id=worker_id, lease_until=clock(lease_seconds))
        )
        return result.rowcount == 1

    def resign(self, connection: Connection, worker_id: UUID) -> None:
        """Let somebody else lead at once."""
        leader = self._database.schema.leader
        connection.execute(
            update(leader)
            .where(leader.c.worker_id == worker_id)
            .values(worker_id=None, lease_until=None)
        )

    def expired(self, connection: Connection, judge: UUID, lease_seconds: float) -> list[Worker]:
        """Workers whose lease has run out, if the judge may say so.

        He may if he has renewed without a gap for one full lease, up to this moment. If not, the
        silence of the others may be the database's own. Hence one statement: a database that
        stalled between two would make everybody look dead.
        """
        workers = self._database.schema.workers
        himself = workers.alias("judge")
        healthy = exists().where(
            himself.c.id == judge,
            himself.c.healthy_since <= clock(-lease_seconds),
            himself.c.lease_until >= clock(),
        )
        return self._read(
            connection, workers.c.lease_until < clock(), workers.c.id != judge, healthy
        )

    def host(self, connection: Connection, worker_id: UUID) -> str | None:
        """Where a registered worker runs."""
        workers = self._database.schema.workers
        query = select(workers.c.host).where(workers.c.id == worker_id)
        return connection.execute(query).scalar_one_or_none()

    def losses_in_hand(self, connection: Connection, worker_id: UUID) -> int:
        """How often a chunk that a worker's lanes hold was lost before; the highest such number."""
        schema = self._database.schema
        lanes, chunks = schema.lanes, schema.chunks
        query = (
            select(func.max(chunks.c.losses))
            .join(lanes, and_(lanes.c.run_id == chunks.c.run_id, lanes.c.number == chunks.c.lane))
            .where(lanes.c.worker_id == worker_id, schema.open_chunks([ChunkStatus.CARVED]))
        )
        return int(connection.execute(query).scalar() or 0)

    def registered(self, connection: Connection, worker_id: UUID) -> bool:
        """Whether the worker is on the list."""
        workers = self._database.schema.workers
        query = select(workers.c.id).where(workers.c.id == worker_id)
        return connection.execute(query).one_or_none() is not None

    def live(self, connection: Connection) -> list[Worker]:
        """Workers whose lease runs."""
        workers = self._database.schema.workers
        return self._read(connection, workers.c.lease_until >= clock())

    def all(self, connection: Connection) -> list[Worker]:
        """Every registered worker."""
        return self._read(connection)

    def remove(self, connection: Connection, worker_id: UUID) -> None:
        """Take a worker off the list."""
        workers = self._database.schema.workers
        connection.execute(delete(workers).where(workers.c.id == worker_id))

    def slots(self, connection: Connection) -> dict[tuple[str, str], int]:
        """Slots of live workers that take work, by queue and by the job they have code for."""
        return self._slots(connection, {})

    def free_slots(self, connection: Connection) -> dict[tuple[str, str], int]:
        """The same, less the slots in which lanes are at work."""
        lanes = self._database.schema.lanes
        counted = select(lanes.c.worker_id, func.count()).group_by(lanes.c.worker_id)
        at_work = {row[0]: int(row[1]) for row in connection.execute(counted)}
        return self._slots(connection, at_work)

    def _slots(
        self, connection: Connection, at_work: Mapping[UUID, int]
    ) -> dict[tuple[str, str], int]:
        slots: dict[tuple[str, str], int] = {}
        for worker in self.live(connection):
            if worker.draining:
                continue
            left = max(0, worker.slots - at_work.get(worker.id, 0))
            for place in product(worker.queues, worker.jobs):
                slots[place] = slots.get(place, 0) + left
        return slots

    def _read(self, connection: Connection, *where: object) -> list[Worker]:
        workers = self._database.schema.workers
        query = select(workers).order_by(workers.c.registered_at)
        for condition in where:
            query = query.where(condition)  # type: ignore[arg-type]
        return [
            Worker(
                id=row.id,
                host=row.host,
                pid=row.pid,
                slots=row.slots,
                pool=row.pool,
                queues=tuple(json.loads(row.queues)),
                jobs=tuple(json.loads(row.jobs)),
                version=row.version,
                draining=row.draining,
                lease_until=row.lease_until,
                settings=None if row.settings is None else json.loads(row.settings),
            )
            for row in connection.execute(query)
        ]
