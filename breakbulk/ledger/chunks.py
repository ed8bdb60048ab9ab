"""What happens for every chunk: lock its name, mark it done, note the progress.

These statements run once a chunk inside the user's transaction, so each is built once, found by
primary key alone, and writes one row. ``AND status = …`` in the done-mark would lure the planner
into the index of open chunks, which is full of dead entries: half the speed, measured.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Dialect,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    null,
    select,
    text,
    true,
    update,
)

from breakbulk.domain.chunk import ChunkRef, Claim, RunId
from breakbulk.domain.run import Summary
from breakbulk.domain.status import UNFINISHED_CHUNK, ChunkStatus, RunStatus
from breakbulk.ledger.beginning import seconds_taken
from breakbulk.ledger.database import Database
from breakbulk.ledger.driver import ask, begin_with, is_psycopg
from breakbulk.ledger.lastword import LastWord
from breakbulk.ledger.pooling import label_of, naming
from breakbulk.ledger.sql import (
    TRANSACTION_BEGAN,
    clock,
    transaction_began,
)


class Chunks:
    """The chunks of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements: dict[str, Any] = {}

    def begin(self, connection: Connection, ref: ChunkRef) -> object:
        """Take the chunk's advisory lock for this transaction; the transaction's seal.

        It writes nothing. It tells the steward which session holds the row locks of an attempt
        whose worker is frozen or cut off, so that it can end that session. On PostgreSQL BEGIN
        and the lock travel together; on SQLite the write lock is taken.
        """
        return self.begin_named(connection, ref.run_id, str(ref))

    def begin_named(self, connection: Connection, run_id: RunId, name: str) -> object:
        """The same for a callback."""
        if not self._database.is_postgresql:
            self._database.begin_writing(connection)
            return self._database.seal(connection)
        key = self._database.lock_key(run_id, name)
        driver: Any = connection.connection.driver_connection
        if not is_psycopg(driver):
            query = select(func.pg_advisory_xact_lock(key), transaction_began())
            if (label := label_of(connection)) is not None:
                query = query.add_columns(func.set_config("application_name", label, true()))
            return connection.execute(query).one()[1]
        asked = f"pg_advisory_xact_lock({key}), {TRANSACTION_BEGAN}{naming(connection)}"
        seal = begin_with(driver, f"SELECT {asked}")[1]
        return None if seal is None else seal.decode()

    def mark_done(
        self, connection: Connection, ref: ChunkRef, owner: UUID, seconds: float
    ) -> tuple[RunStatus | None, object] | None:
        """Mark the chunk done if it is still ours; the run's status and the seal at that moment.

        None when somebody else owns it: then everything must be rolled back. The others come
        along at no cost: the status, so that a pause is obeyed after the chunk in hand, and None
        instead for a lane that is one too many by now; the seal (on PostgreSQL), to be compared
        with that of :meth:`begin`.
        """
        values = {
            "of_run": ref.run_id,
            "of_number": ref.number,
            "of_path": ref.path,
            "token": owner,
            "took": seconds,
        }
        if is_psycopg(connection.connection.driver_connection):
            row = ask(connection, self._done_text(connection.dialect), values)
        else:
            row = connection.execute(self.done(), values).one_or_none()
        return None if row is None else (row[0] and RunStatus(row[0]), row[1])

    @cached_property
    def last_word(self) -> LastWord:
        """The done-mark and COMMIT in one message, on PostgreSQL."""
        return LastWord(self.done(), ("of_run", "of_number", "of_path", "token", "took"))

    def tally(
        self, connection: Connection, run_id: RunId, lane: int, chunks: int, rows: int
    ) -> None:
        """Append what a lane has done since its last tally."""
        connection.execute(
            self._tally(),
            {"of_run": run_id, "of_lane": lane, "chunk_count": chunks, "row_count": rows},
        )

    def committed(self, connection: Connection, claim: Claim) -> bool:
        """Settle a COMMIT whose answer was lost: was the chunk done by this very attempt?

        It may have left the owner's hands in other ways: taken, and done by another attempt, or
        cancelled with its run. A locking read, on a new connection: a plain one would say "not
        done" while the COMMIT is still on its way (reproduced). It waits for the old session to
        end one way or the other.
        """
        chunks = self._database.schema.chunks
        if self._database.is_postgresql:
            # The mark may be on its way together with its COMMIT, and the row not locked yet; but
            # their transaction has the chunk's name.
            name = self._database.lock_key(claim.ref.run_id, str(claim.ref))
            connection.execute(select(func.pg_advisory_xact_lock(name)))
        query = select(chunks.c.status, chunks.c.attempt, chunks.c.losses)
        query = query.where(*self._is(claim.ref))
        if self._database.is_postgresql:
            query = query.with_for_update()
        row = connection.execute(query).one_or_none()
        ours = (str(ChunkStatus.SUCCEEDED), claim.attempt, claim.losses)
        return row is not None and tuple(row) == ours

    def any_unfinished(self, connection: Connection, run_id: RunId) -> bool:
        """Whether a chunk is still to be done. Ask under the carve row's lock, afterwards."""
        chunks = self._database.schema.chunks
        unfinished = self._database.schema.open_chunks(UNFINISHED_CHUNK)
        question = exists().where(chunks.c.run_id == run_id, unfinished)
        return bool(connection.execute(select(question)).scalar())

    def cancel_rest(self, connection: Connection, run_id: RunId) -> int:
        """Cancel what has not been done; how many that were."""
        chunks, waiting = self._database.schema.chunks, self._database.schema.waiting
        connection.execute(waiting.delete().where(waiting.c.run_id == run_id))
        result = connection.execute(
            update(chunks)
            .where(chunks.c.run_id == run_id, self._database.schema.open_chunks(UNFINISHED_CHUNK))
            .values(status=str(ChunkStatus.CANCELLED), owner=None, ended_at=clock())
        )
        return int(result.rowcount)

    def rows_given_up(self, connection: Connection, run_id: RunId) -> int:
        """How many rows are in chunks that were given up."""
        schema = self._database.schema
        given_up = schema.open_chunks([ChunkStatus.FAILED, ChunkStatus.SKIPPED])
        query = select(func.coalesce(func.sum(schema.chunks.c.rows), 0)).where(
            schema.chunks.c.run_id == run_id, given_up
        )
        return int(connection.execute(query).scalar_one())

    def summary(self, connection: Connection, run_id: RunId) -> Summary:
        """Count the round's work from the chunks themselves."""
        schema = self._database.schema
        chunks, runs, failures = schema.chunks, schema.runs, schema.failures
        done = chunks.c.status == str(ChunkStatus.SUCCEEDED)
        given_up = chunks.c.status.in_([str(ChunkStatus.FAILED), str(ChunkStatus.SKIPPED)])
        row = connection.execute(
            select(
                func.coalesce(func.sum(chunks.c.rows).filter(done), 0),
                func.coalesce(func.sum(chunks.c.rows).filter(given_up), 0),
                func.count().filter(done),
                func.count().filter(given_up),
            ).where(chunks.c.run_id == run_id)
        ).one()
        failed = connection.execute(
            select(func.count())
            .select_from(failures.join(runs, runs.c.id == failures.c.run_id))
            .where(
                failures.c.run_id == run_id,
                failures.c.round == runs.c.round,
                failures.c.number.is_not(None),
            )
        ).scalar_one()
        quarantined = connection.execute(
            select(func.count()).where(schema.quarantine.c.run_id == run_id)
        ).scalar_one()
        seconds = connection.execute(
            select(seconds_taken(schema)).where(runs.c.id == run_id)
        ).scalar_one()
        return Summary(
            rows_done=int(row[0]),
            rows_failed=int(row[1]),
            rows_quarantined=int(quarantined),
            chunks_done=int(row[2]),
            chunks_failed=int(row[3]),
            attempts_failed=int(failed),
            seconds=round(max(float(seconds), 0.0), 3),
        )

    def holders(
        self, connection: Connection, run_id: RunId, names: list[str], label: str
    ) -> list[int]:
        """Database sessions that are in the middle of something for a lane.

        Those that hold the advisory lock of one of these chunks or callbacks, and those that
        carry the lane's label and have a transaction open: a lane may freeze in the middle of a
        carve as well, with the carve row locked.
        """
        if not self._database.is_postgresql:
            return []
        keys = [self._database.lock_key(run_id, name) for name in names]
        rows = connection.execute(
            text(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND objsubid = 1 AND database = (SELECT oid FROM pg_database"
                " WHERE datname = current_database())"
                " AND ((classid::bigint << 32) | objid::bigint) = ANY(CAST(:keys AS bigint[]))"
                " UNION SELECT pid FROM pg_stat_activity WHERE application_name = :label"
                " AND datname = current_database() AND state <> 'idle'"
            ),
            {"keys": keys, "label": label},
        )
        return [int(row.pid) for row in rows]

    def end_session(self, connection: Connection, pid: int) -> None:
        """Ask the server to end a session; it needs the same role."""
        connection.execute(select(func.pg_terminate_backend(pid)))

    def _is(self, ref: ChunkRef) -> tuple[Any, ...]:
        chunks = self._database.schema.chunks
        return (
            chunks.c.run_id == ref.run_id,
            chunks.c.number == ref.number,
            chunks.c.path == ref.path,
        )

    def done(self) -> Any:
        """The done-mark as a statement: it returns the run's status, and the seal."""
        if "done" not in self._statements:
            chunks, runs = self._database.schema.chunks, self._database.schema.runs
            place = self._database.schema.place(chunks.c.lane)
            status = (
                select(runs.c.status)
                .where(runs.c.id == bindparam("of_run"), place)
                .correlate(chunks)
                .scalar_subquery()
            )
            self._statements["done"] = (
                update(chunks)
                .where(
                    and_(
                        chunks.c.run_id == bindparam("of_run"),
                        chunks.c.number == bindparam("of_number"),
                        chunks.c.path == bindparam("of_path"),
                        chunks.c.owner == bindparam("token"),
                    )
                )
                .values(
                    status=literal_column(f"'{ChunkStatus.SUCCEEDED}'", chunks.c.status.type),
                    owner=null(),
                    seconds=bindparam("took"),
                    ended_at=clock(),
                )
                .returning(status.label("run_status"), transaction_began())
            )
        return self._statements["done"]

    def _done_text(self, dialect: Dialect) -> str:
        if "done_text" not in self._statements:
            compiled = self.done().compile(dialect=dialect)
            self._statements["done_text"] = compiled.string
        return str(self._statements["done_text"])

    def _tally(self) -> Any:
        if "tally" not in self._statements:
            self._statements["tally"] = insert(self._database.schema.tallies).values(
                run_id=bindparam("of_run"),
                lane=bindparam("of_lane"),
                chunks=bindparam("chunk_count"),
                rows=bindparam("row_count"),
                at=clock(),
            )
        return self._statements["tally"]
