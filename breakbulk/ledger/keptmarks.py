"""An item's done-mark and its result in one statement, which is a transaction of its own.

An item whose code has asked for no session of ours has no transaction to be part of. So what is
to be written of it needs neither BEGIN nor COMMIT: one round trip instead of four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from breakbulk.domain.status import RunStatus
from breakbulk.ledger.driver import ask_apart, is_idle

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Connection

    from breakbulk.domain.chunk import ChunkRef
    from breakbulk.ledger.chunks import Chunks
    from breakbulk.ledger.database import Database


class KeptMarks:
    """The done-marks of one ledger's items that keep results.

    Args:
        chunks: whose done-mark it is.
    """

    def __init__(self, database: Database, chunks: Chunks) -> None:
        self._database = database
        self._chunks = chunks
        self._text: dict[bool, str] = {}

    @staticmethod
    def possible(connection: Connection) -> bool:
        """Whether this can be said here: through psycopg, on a connection that does nothing."""
        return is_idle(connection)

    def mark_done(
        self,
        connection: Connection,
        ref: ChunkRef,
        owner: UUID,
        seconds: float,
        result: str | None,
    ) -> tuple[RunStatus | None] | None:
        """Mark an item done and keep its result, if it is still ours; the run's status.

        Args:
            result: JSON text; None keeps nothing.

        Returns:
            None when somebody else owns the item: then nothing was written. A status of None: this
            lane is one too many by now.

        Raises:
            psycopg.Error: what the server said.
        """
        values = {
            "of_run": ref.run_id,
            "of_number": ref.number,
            "of_path": ref.path,
            "token": owner,
            "took": seconds,
        }
        if result is not None:
            values["result"] = result
        query = self._query(connection, keeps=result is not None)
        row = ask_apart(connection, query, values)
        return None if row is None else (row[0] and RunStatus(row[0]),)

    def _query(self, connection: Connection, *, keeps: bool) -> str:
        if keeps not in self._text:
            made = self._keeping() if keeps else self._chunks.done()
            self._text[keeps] = str(made.compile(dialect=connection.dialect))
        return self._text[keeps]

    def _keeping(self) -> Any:
        chunks, results = self._database.schema.chunks, self._database.schema.results
        marked = self._chunks.done().returning(chunks.c.run_id, chunks.c.number).cte("marked")
        found = select(
            marked.c.run_id, marked.c.number, bindparam("result", type_=results.c.value.type)
        )
        written = insert(results).from_select(["run_id", "number", "value"], found)
        kept = written.on_conflict_do_update(
            index_elements=["run_id", "number"], set_={"value": written.excluded.value}
        )
        return select(marked.c[0]).add_cte(kept.cte("kept"))
