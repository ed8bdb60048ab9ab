"""Who scales a group of workers, and what it remembers: another one can go on from there."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock


class Scalers:
    """The scalers of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lead(self, connection: Connection, name: str, holder: UUID, seconds: float) -> bool:
        """Become or stay the one that scales a group; False while another one does.

        Args:
            seconds: for which nobody else may.
        """
        scalers = self._database.schema.scalers
        dialect = postgresql if self._database.is_postgresql else sqlite
        mine = {"holder": holder, "lease_until": clock(seconds)}
        statement = dialect.insert(scalers).values(name=name, state="{}", **mine)
        taken = connection.execute(
            statement.on_conflict_do_update(
                index_elements=["name"],
                set_=mine,
                where=or_(
                    scalers.c.holder.is_(None),
                    scalers.c.holder == holder,
                    scalers.c.lease_until < clock(),
                ),
            ).returning(scalers.c.name)
        )
        return taken.one_or_none() is not None

    def state(self, connection: Connection, name: str) -> dict[str, Any]:
        """What was remembered of a group; nothing of one that nobody has scaled."""
        scalers = self._database.schema.scalers
        query = select(scalers.c.state).where(scalers.c.name == name)
        kept = connection.execute(query).scalar_one_or_none()
        found: dict[str, Any] = json.loads(kept or "{}")
        return found

    def keep(self, connection: Connection, name: str, holder: UUID, state: dict[str, Any]) -> bool:
        """Remember something of a group; False when another one scales it by now."""
        scalers = self._database.schema.scalers
        kept = connection.execute(
            update(scalers)
            .where(scalers.c.name == name, scalers.c.holder == holder)
            .values(state=json.dumps(state, separators=(",", ":")))
        )
        return kept.rowcount == 1

    def resign(self, connection: Connection, name: str, holder: UUID) -> None:
        """Let another one scale the group at once."""
        scalers = self._database.schema.scalers
        connection.execute(
            update(scalers)
            .where(scalers.c.name == name, scalers.c.holder == holder)
            .values(holder=None, lease_until=None)
        )
