"""How large chunks are that size themselves, and what the last ones took.

What they took is not written down for this: it stands in the chunks, from the frontier downwards.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.sizing import WINDOW, Cause, Size, SizeReport, Timed, noteworthy
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.runs import Runs
from breakbulk.ledger.sql import clock

#: So many chunks below the frontier are read at most: those in hand are among them, one a lane.
_LOOK = 200


class Sizes:
    """The chunk sizes of one ledger's runs. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs = Runs(database)

    def current(self, connection: Connection, run_id: RunId, first: int) -> Size:
        """The size on record; ``first`` while there is none."""
        sizes = self._database.schema.sizes
        query = select(sizes).where(sizes.c.run_id == run_id).order_by(sizes.c.id.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        if row is None:
            return Size(first)
        return Size(
            row.rows, row.number, Cause(row.cause), row.ceiling, row.ceiling_number, row.told
        )

    def done(self, connection: Connection, run_id: RunId) -> list[Timed]:
        """What the last chunks took that are done, those with the highest keys first."""
        chunks = self._database.schema.chunks
        latest = (
            select(chunks.c.number, chunks.c.path, chunks.c.status, chunks.c.rows, chunks.c.seconds)
            .where(chunks.c.run_id == run_id)
            .order_by(chunks.c.number.desc(), chunks.c.path.desc())
            .limit(_LOOK)
            .subquery()
        )
        query = (
            select(latest.c.rows, latest.c.seconds)
            .where(
                latest.c.status == str(ChunkStatus.SUCCEEDED),
                latest.c.seconds.is_not(None),
                latest.c.rows > 0,
            )
            .order_by(latest.c.number.desc(), latest.c.path.desc())
            .limit(WINDOW)
        )
        return [Timed(int(row.rows), float(row.seconds)) for row in connection.execute(query)]

    def record(
        self,
        connection: Connection,
        run_id: RunId,
        size: Size,
        *,
        detail: str,
        actor: str,
        tell: bool = True,
    ) -> None:
        """Write down a change; call it with the carve row locked.

        Args:
            detail: why, in words.
            actor: who is said to have changed it.
            tell: the run's activity may tell it, if it is worth that.
        """
        told = size.told
        if tell and noteworthy(size):
            was = "" if told is None else f"from {told:,} "
            self._runs.note(
                connection,
                run_id,
                actor=actor,
                verb="resized",
                detail=f"chunks {was}to {size.rows:,} rows: {detail}",
            )
            told = size.rows
        connection.execute(
            insert(self._database.schema.sizes).values(
                run_id=run_id,
                at=clock(),
                number=size.number,
                rows=size.rows,
                cause=str(size.cause),
                detail=detail,
                ceiling=size.ceiling,
                ceiling_number=size.ceiling_number,
                told=told,
            )
        )

    def latest(self, connection: Connection, run_id: RunId, limit: int) -> list[SizeReport]:
        """The last changes, newest first."""
        sizes = self._database.schema.sizes
        query = (
            select(sizes.c.at, sizes.c.number, sizes.c.rows, sizes.c.cause, sizes.c.detail)
            .where(sizes.c.run_id == run_id)
            .order_by(sizes.c.id.desc())
            .limit(limit)
        )
        return [SizeReport(*row) for row in connection.execute(query)]
