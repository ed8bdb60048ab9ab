"""One attempt at one chunk: user code and done-mark in one transaction, and nothing else.

On PostgreSQL the transaction is begun when the code asks for it. What calls somebody's API for
a minute and writes nothing has nothing open meanwhile, which vacuum would have to wait for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from breakbulk.domain.chunk import Claim
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.domain.verdict import Kept
from breakbulk.errors import LostClaim
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.lastword import LastWord, NothingMarked, OtherTransaction
from breakbulk.runner.chunk import Chunk
from breakbulk.runner.context import surrounded
from breakbulk.runner.current import process
from breakbulk.runner.keeping import keep
from breakbulk.runner.late import LateUnit
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.unit import Unit, ended, unit
from breakbulk.sources import Source, guard_key

#: What an attempt that was committed gives: the run's status, and whether the tally was with it.
Marked = tuple[RunStatus | None, bool]

_NOTHING = Kept()


class DoubtfulCommit(Exception):
    """The connection was lost during COMMIT: nobody knows yet whether the chunk is done.

    Args:
        tallied: whether the lane's tally was in the same transaction.
    """

    def __init__(self, *, tallied: bool) -> None:
        super().__init__("the answer to COMMIT was lost")
        self.tallied = tallied


@dataclass(slots=True)
class Tally:
    """What a lane has done and not yet written down."""

    chunks: int = 0
    rows: int = 0
    written_at: float = 0.0
    _chunks_before: int = field(default=0, init=False)
    _rows_before: int = field(default=0, init=False)

    def due(self, every: float) -> bool:
        """Whether it is time to write it down."""
        return time.monotonic() - self.written_at >= every

    def count(self, rows: int, *, written: bool) -> None:
        """A chunk has been committed, with or without the tally beside it."""
        self.chunks += 1
        self.rows += rows
        if written:
            self.clear()

    def clear(self) -> None:
        """It has been written down."""
        self._chunks_before += self.chunks
        self._rows_before += self.rows
        self.chunks = self.rows = 0
        self.written_at = time.monotonic()

    def in_all(self) -> tuple[int, int]:
        """Chunks and rows since the lane came, written down or not."""
        return self._chunks_before + self.chunks, self._rows_before + self.rows


@dataclass(slots=True)
class _LastWord:
    """Marks a chunk and commits, when it is called.

    Attributes:
        status: the run's, once it has been said.
    """

    word: LastWord
    connection: Connection
    claim: Claim
    began: float
    seal: object
    status: RunStatus | None = None

    def __call__(self) -> None:
        claim, seconds = self.claim, time.monotonic() - self.began
        self.status = self.word.say(self.connection, claim.ref, claim.owner, seconds, self.seal)


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane needs for every chunk of its run.

    Attributes:
        keeps: the job keeps results: ``process`` says what came of its one item.
    """

    keeps: ClassVar[bool] = False

    runtime: Runtime
    run: Run
    job: Any
    source: Source[Any]
    lane: int
    tally: Tally

    def attempt(
        self,
        connection: Connection,
        data: Connection,
        claim: Claim,
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> RunStatus | None:
        """Process a chunk and mark it done; the run's status at that moment.

        None: the run goes on, but this lane is one too many by now.

        Args:
            at_work: entered once it is our turn: who waits behind a chunk that hangs hangs not.

        Raises:
            LostClaim: somebody else owns the chunk; everything was rolled back.
            DoubtfulCommit: settle it with :func:`settled`.
            Exception: whatever ``process`` raised; everything was rolled back.
        """
        if self.runtime.at_least_once:
            return self._in_two_databases(connection, data, claim, at_work)
        database = self.runtime.database
        begin = partial(self.runtime.ledger.chunks.begin, connection, claim.ref)
        # How long it waits for its turn to write, on SQLite, is no matter of its size.
        at_once = not database.is_postgresql
        late = LateUnit(database, connection, begin, at_work, self._guard_key, at_once=at_once)
        with late:
            began = time.monotonic()
            chunk = Chunk(self.run, claim, self.source, late.session)
            with surrounded(self.runtime.context, chunk):
                # failpoint: before work
                process(self.job, chunk)
                opened = late.end()
                if opened is None:
                    status, tallied = self._mark_alone(connection, claim, began)
                else:
                    status, tallied = self._mark_within(
                        opened, late.seal, connection, claim, began=began
                    )
        self.tally.count(claim.rows, written=tallied)
        return status

    def _guard_key(self, session: Session) -> None:
        guard_key(session, self.source)

    def _mark_within(
        self, work: Unit, seal: object, connection: Connection, claim: Claim, *, began: float
    ) -> Marked:
        """Mark it in the transaction that its code has worked in."""
        chunks, database = self.runtime.ledger.chunks, self.runtime.database
        work.session.flush()
        work.check()
        if not database.is_postgresql and not database.unbroken(connection, seal):
            raise ended()
        last_word: _LastWord | None = None
        if self._may_mark_with_commit(connection, work):
            last_word = _LastWord(chunks.last_word, connection, claim, began, seal)
        else:
            status, seen = self._mark(connection, claim, began)
            if seen != seal:
                raise ended()
        tallied = self._note(connection, claim)
        self._commit(work, claim, last_word, tallied=tallied)
        if last_word is not None:
            status = last_word.status
        return status, tallied

    def _mark_alone(
        self, connection: Connection, claim: Claim, began: float, said: Kept = _NOTHING
    ) -> Marked:
        """Mark it where nothing is open."""
        marks, seconds = self.runtime.ledger.keptmarks, time.monotonic() - began
        due = self.tally.due(self.runtime.settings.tally_seconds)
        if not said.outgoing and not due and marks.possible(connection):
            try:
                with doubting(tallied=False):
                    found = marks.mark_done(
                        connection, claim.ref, claim.owner, seconds, said.result
                    )
            except Exception as error:
                # It is done: that it could not be said is no reason to do it again.
                if fault_of(error, ours=True) is not Fault.TRANSIENT:
                    raise
            else:
                if found is None:
                    raise overtaken(self.run, claim)
                return found[0], False
        with doubting(tallied=due), self.runtime.database.transaction(connection):
            status, _ = self._mark(connection, claim, began)
            keep(self.runtime, connection, self.run, claim, said)
            if due:
                self._write_tally(connection, claim)
        return status, due

    def _may_mark_with_commit(self, connection: Connection, work: Unit) -> bool:
        """Whether the mark can go in one message with COMMIT."""
        return (
            self.runtime.database.is_postgresql
            and not work.session.twophase
            and self.runtime.ledger.chunks.last_word.ready(connection)
        )

    def _commit(
        self, work: Unit, claim: Claim, last_word: _LastWord | None, *, tallied: bool
    ) -> None:
        # failpoint: before commit
        try:
            work.commit(last_word)
        except NothingMarked as error:
            raise overtaken(self.run, claim) from error
        except OtherTransaction as error:
            raise ended() from error
        except DBAPIError as error:
            if fault_of(error) is Fault.CONNECTION:
                raise DoubtfulCommit(tallied=tallied) from error
            raise
        # failpoint: after commit

    def _in_two_databases(
        self,
        connection: Connection,
        data: Connection,
        claim: Claim,
        at_work: Callable[[], AbstractContextManager[None]],
    ) -> RunStatus | None:
        # The rows first: a crash between the two commits repeats the chunk, it loses nothing.
        database = self.runtime.data
        with database.turn(), at_work(), unit(database, data) as work:
            began = time.monotonic()
            database.begin_writing(data)
            seal = database.seal(data)
            guard_key(work.session, self.source)
            chunk = Chunk(self.run, claim, self.source, lambda: work.session)
            with surrounded(self.runtime.context, chunk):
                process(self.job, chunk)
                work.session.flush()
                work.check()
                if not database.unbroken(data, seal):
                    raise ended()
                work.commit()
        # failpoint: between two databases
        with self.runtime.database.transaction(connection):
            status, _ = self._mark(connection, claim, began)
            tallied = self._note(connection, claim)
        self.tally.count(claim.rows, written=tallied)
        return status

    def _mark(
        self, connection: Connection, claim: Claim, began: float
    ) -> tuple[RunStatus | None, object]:
        seconds = time.monotonic() - began
        marked = self.runtime.ledger.chunks.mark_done(connection, claim.ref, claim.owner, seconds)
        if marked is None:
            raise overtaken(self.run, claim)
        return marked

    def _note(self, connection: Connection, claim: Claim) -> bool:
        """Write the tally with this chunk in it, if it is time; whether it was."""
        due = self.tally.due(self.runtime.settings.tally_seconds)
        if due:
            self._write_tally(connection, claim)
        return due

    def _write_tally(self, connection: Connection, claim: Claim) -> None:
        self.runtime.ledger.chunks.tally(
            connection, self.run.id, self.lane, self.tally.chunks + 1, self.tally.rows + claim.rows
        )


@contextmanager
def doubting(*, tallied: bool) -> Iterator[None]:
    """What is said to the ledger now may have happened, even if the answer is lost.

    Args:
        tallied: whether the lane's tally is in the same transaction.
    """
    try:
        yield
    except Exception as error:
        if fault_of(error, ours=True) is Fault.CONNECTION:
            raise DoubtfulCommit(tallied=tallied) from error
        raise


def overtaken(run: Run, claim: Claim) -> LostClaim:
    """What is raised when the done-mark has found nothing to mark."""
    return LostClaim(
        f"{run.nouns.chunk} {claim.ref} of run {run.id} was taken over by another attempt"
        " while this one worked; this one is rolled back"
    )


def settled(runtime: Runtime, connection: Connection, claim: Claim) -> bool:
    """Whether a doubtful commit did happen, asked on a new connection."""
    with runtime.database.transaction(connection):
        return runtime.ledger.chunks.committed(connection, claim)
