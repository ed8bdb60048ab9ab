"""Workers, lanes and sessions, as the database has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select, text

from breakbulk.ledger.sql import clock

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy import Engine

    from breakbulk.ledger.schema import Schema

#: Transactions that are open for longer than a look around takes.
_OPEN = """
    SELECT pid, application_name, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start < clock_timestamp() - interval '1 s'
"""


@dataclass(frozen=True)
class Roster:
    """Workers are named by their main process."""

    engine: Engine
    schema: Schema

    def leader(self) -> int | None:
        """The worker whose steward leads, or led last; None if it is not on the list."""
        workers, leader = self.schema.workers, self.schema.leader
        query = select(workers.c.pid).join(leader, leader.c.worker_id == workers.c.id)
        return next(iter(self._column(query)), None)

    def listed(self, worker: int) -> bool:
        """Whether a worker is on the list: it is not lost, as far as anybody knows."""
        workers = self.schema.workers
        return bool(self._column(select(workers.c.id).where(workers.c.pid == worker)))

    def in_time(self) -> list[int]:
        """The workers whose lease runs."""
        workers = self.schema.workers
        return self._column(select(workers.c.pid).where(workers.c.lease_until >= clock()))

    def lanes_of(self, worker: int) -> set[UUID]:
        """The tokens of a worker's lanes."""
        workers, lanes = self.schema.workers, self.schema.lanes
        query = select(lanes.c.token).join(workers, workers.c.id == lanes.c.worker_id)
        return set(self._column(query.where(workers.c.pid == worker)))

    def lanes_in(self, pids: Collection[int]) -> list[int]:
        """The processes among these that have a lane on record."""
        lanes = self.schema.lanes
        return self._column(select(lanes.c.pid).where(lanes.c.pid.in_(pids)))

    def transactions(self) -> list[str]:
        """Transactions of this database that do not end."""
        with self.engine.connect() as connection:
            return [str(row) for row in connection.execute(text(_OPEN))]

    def _column(self, query: Select[Any]) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())
