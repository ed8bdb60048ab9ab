"""How the ledger and those who keep it are: heartbeats, who leads, how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select, text

from breakbulk.domain.chunk import RunId
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between


@dataclass(frozen=True, slots=True)
class TableSize:
    """One of the ledger's tables.

    Attributes:
        rows: how many there are, as the planner estimates; None while it does not know.
        bytes: on disk, with its indexes.
    """

    name: str
    rows: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Health:
    """How it all is at one moment.

    Attributes:
        leader: the worker whose steward leads; None: nobody does, or a file lock says who.
        lease_left: for how many seconds each worker's lease still runs; below 0: it has run out.
        tables: the largest first; empty on SQLite, where all are in one file.
        bytes: all of them; on SQLite the whole file.
        oldest: the number of the first run that is still there, and when it was submitted.
    """

    leader: UUID | None
    lease_left: dict[UUID, float]
    tables: list[TableSize]
    bytes: int
    oldest: tuple[RunId, datetime] | None


class Vitals:
    """Looks after one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def health(self, connection: Connection) -> Health:
        """Look."""
        schema = self._database.schema
        workers, runs = schema.workers, schema.runs
        left = seconds_between(clock(), workers.c.lease_until)
        leases = connection.execute(select(workers.c.id, left.label("left"))).all()
        leads = self.leader(connection)
        oldest = connection.execute(
            select(runs.c.id, runs.c.submitted_at).order_by(runs.c.id).limit(1)
        ).one_or_none()
        tables, whole = self._sizes(connection)
        return Health(
            leads,
            {row.id: float(row.left) for row in leases},
            tables,
            whole,
            None if oldest is None else (RunId(oldest.id), oldest.submitted_at),
        )

    def leader(self, connection: Connection) -> UUID | None:
        """The worker whose steward leads; None when nobody does."""
        leader = self._database.schema.leader
        return connection.execute(
            select(leader.c.worker_id).where(leader.c.lease_until >= clock())
        ).scalar()

    def _sizes(self, connection: Connection) -> tuple[list[TableSize], int]:
        if not self._database.is_postgresql:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return [], int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
        rows = connection.execute(
            text(
                "SELECT relname, reltuples, pg_total_relation_size(pg_class.oid) AS bytes"
                " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
                " WHERE nspname = :schema AND relkind = 'r' ORDER BY bytes DESC, relname"
            ),
            {"schema": self._database.schema.name},
        )
        found = [
            TableSize(
                row.relname, None if row.reltuples < 0 else int(row.reltuples), int(row.bytes)
            )
            for row in rows
        ]
        return found, sum(one.bytes for one in found)
