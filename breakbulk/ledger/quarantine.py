"""Rows that could not be processed, to be looked at and tried again."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select

from breakbulk.domain.chunk import ChunkRef, RunId
from breakbulk.domain.failed import FailureReport, QuarantinedRow
from breakbulk.ledger.database import Database
from breakbulk.ledger.paging import oldest_first
from breakbulk.ledger.sql import clock


class Quarantine:
    """The quarantine of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        connection: Connection,
        ref: ChunkRef,
        *,
        key: str,
        attempts: int,
        failure: FailureReport,
    ) -> None:
        """Put a chunk of one row in quarantine."""
        connection.execute(
            insert(self._database.schema.quarantine).values(
                run_id=ref.run_id,
                number=ref.number,
                path=ref.path,
                key=key,
                error=failure.error,
                message=failure.message,
                place=failure.place,
                traceback=failure.traceback,
                attempts=attempts,
                round=failure.round,
                at=clock(),
            )
        )

    def page(
        self, connection: Connection, run_id: RunId, *, after: int = 0, limit: int = 100
    ) -> list[QuarantinedRow]:
        """Rows in the order in which they came, those after the one with this id."""
        rows = self._database.schema.quarantine
        query = select(*(rows.c[name] for name in QuarantinedRow.__dataclass_fields__))
        query = oldest_first(query, rows.c.id, (rows.c.run_id, run_id), after).limit(limit)
        return [QuarantinedRow(**row) for row in connection.execute(query).mappings()]

    def count(self, connection: Connection, run_id: RunId, *, round: int | None = None) -> int:  # noqa: A002
        """How many rows are in quarantine, or how many of them one round has put there."""
        rows = self._database.schema.quarantine
        query = select(func.count()).where(rows.c.run_id == run_id)
        if round is not None:
            query = query.where(rows.c.round == round)
        return int(connection.execute(query).scalar_one())
