"""Giving back all that a lane holds and has not begun, whatever its number.

A lane of quick chunks may hold a thousand of them when its slice ends. All others who want to carve
wait meanwhile, so it is two statements, and not two for each chunk.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import insert, update

from breakbulk.domain.chunk import ChunkRef, RunId
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.sql import clock

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Connection

    from breakbulk.ledger.database import Database


class Returns:
    """What comes back to one ledger unbegun."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unbegun(
        self, connection: Connection, run_id: RunId, owners: Collection[UUID]
    ) -> list[ChunkRef]:
        """Put all that is still held under these tokens back to wait, as if never taken.

        What is to be put back in any other way, as the chunk in hand may have to be, is put back
        before. Call it with the carve row locked.
        """
        waiting, chunks = self._database.schema.waiting, self._database.schema.chunks
        rows = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.CARVED]),
                chunks.c.owner.in_(list(owners)),
            )
            .values(
                status=str(ChunkStatus.WAITING),
                owner=None,
                attempt=chunks.c.attempt - 1,
                troubled=0,
            )
            .returning(chunks.c.number, chunks.c.path)
        )
        refs = [ChunkRef(run_id, row.number, row.path) for row in rows]
        if refs:
            connection.execute(
                insert(waiting).values(not_before=clock(), tried=False, spent=False),
                [{"run_id": run_id, "number": ref.number, "path": ref.path} for ref in refs],
            )
        return refs
