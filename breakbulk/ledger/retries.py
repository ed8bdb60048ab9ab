"""Opening failed chunks again, for a run's next round."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    delete,
    exists,
    false,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from breakbulk.domain.chunk import RunId
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock

#: So many at a time: a statement has room for a few thousand values.
_BATCH = 500


class Retries:
    """What an operator tries again. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reopen(
        self,
        connection: Connection,
        run_id: RunId,
        *,
        error: str | None,
        chunk: tuple[int, str] | None,
        key: str | None,
        cancelled: bool,
    ) -> tuple[int, int]:
        """Let failed chunks wait to be tried; how many chunks and rows these are.

        Call it with the carve row locked.

        Args:
            error: only those that failed with this exception: full name, or its last part.
            chunk: only this one, number and path, and what it was split into.
            key: only the row in quarantine with this key, encoded.
            cancelled: those, too, that were not tried because the run was stopped, whatever else
                is meant: the run goes on with them.
        """
        schema = self._database.schema
        chunks = schema.chunks
        failed = schema.open_chunks([ChunkStatus.FAILED, ChunkStatus.SKIPPED])
        meant = and_(failed, *self._chosen(error, chunk, key))
        if cancelled:
            meant = or_(meant, schema.open_chunks([ChunkStatus.CANCELLED]))
        query = select(chunks.c.number, chunks.c.path, chunks.c.rows).where(
            chunks.c.run_id == run_id, meant
        )
        found = connection.execute(query).all()
        for start in range(0, len(found), _BATCH):
            self._open(
                connection, run_id, [(row.number, row.path) for row in found[start:][:_BATCH]]
            )
        return len(found), sum(row.rows for row in found)

    def give_tries_back(self, connection: Connection, run_id: RunId) -> None:
        """Let every chunk that waits be tried at once, as if it had not been tried.

        Call it with the carve row locked.
        """
        chunks, waiting = self._database.schema.chunks, self._database.schema.waiting
        connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.WAITING]),
            )
            .values(attempt=0, troubled=0)
        )
        connection.execute(
            update(waiting)
            .where(waiting.c.run_id == run_id)
            .values(tried=False, spent=False, not_before=clock())
        )

    def _chosen(
        self, error: str | None, chunk: tuple[int, str] | None, key: str | None
    ) -> list[Any]:
        schema = self._database.schema
        chunks = schema.chunks
        conditions: list[Any] = []
        for table, column, value in (
            (schema.failures, "error", error),
            (schema.quarantine, "key", key),
        ):
            if value is None:
                continue
            meant = table.c[column] == value
            if column == "error":
                meant = or_(meant, table.c.error.endswith(f".{value}", autoescape=True))
            conditions.append(
                exists().where(
                    table.c.run_id == chunks.c.run_id,
                    table.c.number == chunks.c.number,
                    table.c.path == chunks.c.path,
                    meant,
                )
            )
        if chunk is not None:
            number, path = chunk
            conditions += [chunks.c.number == number, chunks.c.path.startswith(path)]
        return conditions

    def _open(self, connection: Connection, run_id: RunId, names: list[tuple[int, str]]) -> None:
        schema = self._database.schema
        chunks, quarantine = schema.chunks, schema.quarantine
        connection.execute(
            update(chunks)
            .where(chunks.c.run_id == run_id, tuple_(chunks.c.number, chunks.c.path).in_(names))
            .values(
                status=str(ChunkStatus.WAITING),
                owner=None,
                attempt=0,
                losses=0,
                snoozes=0,
                troubled=0,
                ended_at=None,
            )
        )
        connection.execute(
            delete(quarantine).where(
                quarantine.c.run_id == run_id,
                tuple_(quarantine.c.number, quarantine.c.path).in_(names),
            )
        )
        due = (literal(run_id), chunks.c.number, chunks.c.path, clock(), false())
        connection.execute(
            insert(schema.waiting).from_select(
                ["run_id", "number", "path", "not_before", "spent"],
                select(*due).where(
                    chunks.c.run_id == run_id, tuple_(chunks.c.number, chunks.c.path).in_(names)
                ),
            )
        )
