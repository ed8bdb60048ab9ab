"""Attempts that raised, died or took too long, each written down once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    case,
    exists,
    func,
    insert,
    or_,
    select,
)

from breakbulk.domain.chunk import ChunkRef, Claim, RunId
from breakbulk.domain.failed import FailedAttempt, FailureGroup, FailureReport
from breakbulk.domain.failure import Failure
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.paging import newest_first
from breakbulk.ledger.sql import clock

#: Failures of all runs, written one after the other, among which a run's latest are looked for.
_WINDOW = 2_000
#: What the column of an attempt's number can hold; whoever asks for another try has no bound.
_MOST_ATTEMPTS = 2**15 - 1


class Failures:
    """The failed attempts of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        connection: Connection,
        run_id: RunId,
        failure: Failure,
        *,
        claim: Claim | None,
        attempt: int,
        worker: str,
        host: str,
        seconds: float | None,
    ) -> None:
        """Write down an attempt; ``claim`` None for the callback's.

        Call it with the carve row locked, so that two failures of one chunk are told one after the
        other.
        """
        failures, runs = self._database.schema.failures, self._database.schema.runs
        tallies = self._database.schema.failure_tallies
        after, upto = claim.bounds.encoded() if claim else (None, None)
        written = connection.execute(
            insert(failures)
            .values(
                run_id=run_id,
                round=select(runs.c.round).where(runs.c.id == run_id).scalar_subquery(),
                at=clock(),
                number=claim.ref.number if claim else None,
                path=claim.ref.path if claim else None,
                attempt=min(attempt, _MOST_ATTEMPTS),
                error=failure.error,
                message=failure.message,
                place=failure.place,
                traceback=failure.traceback,
                after=after,
                upto=upto,
                rows=claim.rows if claim else None,
                worker=worker,
                host=host,
                seconds=seconds,
            )
            .returning(failures.c.id, failures.c.at)
        ).one()
        connection.execute(
            insert(tallies).values(
                run_id=run_id,
                error=failure.error,
                place=failure.place,
                attempts=1,
                chunks=0 if claim is None else self._first_of_kind(claim, failure, written.id),
                first_at=written.at,
                last_at=written.at,
                failure_id=written.id,
            )
        )

    def _first_of_kind(self, claim: Claim, failure: Failure, before: int) -> ColumnElement[int]:
        """1 if a chunk, with all it was split into, had not failed like this before; else 0."""
        failures = self._database.schema.failures
        earlier = exists().where(
            failures.c.run_id == claim.ref.run_id,
            failures.c.number == claim.ref.number,
            failures.c.error == failure.error,
            failures.c.place.is_not_distinct_from(failure.place),
            failures.c.id != before,
        )
        return case((earlier, 0), else_=1)

    def recent(
        self,
        connection: Connection,
        run_id: RunId,
        *,
        round: int,  # noqa: A002  (the field's own word)
        limit: int,
    ) -> list[FailedAttempt]:
        """The latest failed attempts at chunks in a round, newest first.

        Asked after each failure, so it reads no more than it needs: no tracebacks, and of a run
        that fails beside many others perhaps not all.
        """
        failures = self._database.schema.failures
        columns = [failures.c[name] for name in FailedAttempt.__dataclass_fields__]
        query = self._newest(select(*columns, failures.c.round), run_id).limit(limit)
        return [
            FailedAttempt(row.at, row.number, row.path, row.rows, row.error, row.place)
            for row in connection.execute(query)
            if row.number is not None and row.round == round
        ]

    def latest(
        self,
        connection: Connection,
        run_id: RunId,
        *,
        chunk: ChunkRef | None = None,
        error: str | None = None,
        before: int | None = None,
        limit: int = 20,
    ) -> list[FailureReport]:
        """The latest failed attempts, newest first.

        Args:
            chunk: only those of this chunk.
            error: only those that raised this class.
            before: only those that were written down before the one with this id.
        """
        failures = self._database.schema.failures
        query = select(*(failures.c[name] for name in FailureReport.__dataclass_fields__))
        if chunk is None and error is None:
            latest = self._newest(query, run_id, before).limit(limit)
            found = connection.execute(latest).mappings().all()
            if len(found) == limit:
                return [FailureReport(**row) for row in found]
        # First which, from an index that has them in order, and only then what they say.
        which = select(failures.c.id)
        if chunk is not None:
            which = which.where(
                failures.c.run_id == run_id,
                failures.c.number == chunk.number,
                failures.c.path == chunk.path,
            ).order_by(failures.c.id.desc())
            which = which if error is None else which.where(failures.c.error == error)
            which = which if before is None else which.where(failures.c.id < before)
        else:
            of: dict[Column[Any], Any] = {failures.c.run_id: run_id}
            if error is not None:
                of[failures.c.error] = error
            which = newest_first(which, failures.c.id, of, before)
        which = which.limit(limit)
        query = query.where(failures.c.id.in_(which)).order_by(failures.c.id.desc())
        return [FailureReport(**row) for row in connection.execute(query).mappings()]

    def _newest(self, query: Select[Any], run_id: RunId, before: int | None = None) -> Select[Any]:
        """The query, of no more rows than a few thousand that were written last.

        The planner knows nothing yet of a run that fails fast. It would take it for a few rows,
        and read and sort all that there are.
        """
        failures = self._database.schema.failures
        of_run = {failures.c.run_id: run_id}
        newest = newest_first(select(failures.c.id), failures.c.id, of_run, before).limit(1)
        last = newest.scalar_subquery()
        return query.where(
            failures.c.run_id == run_id,
            failures.c.id > last - _WINDOW,
            # Or those of others that were written since would be read.
            failures.c.id <= last,
        ).order_by(failures.c.id.desc())

    def count(self, connection: Connection, ref: ChunkRef) -> int:
        """How many attempts at a chunk failed, in all rounds."""
        failures = self._database.schema.failures
        query = select(func.count()).where(
            failures.c.run_id == ref.run_id,
            failures.c.number == ref.number,
            failures.c.path == ref.path,
        )
        return int(connection.execute(query).scalar_one())

    def groups(self, connection: Connection, run_id: RunId) -> list[FailureGroup]:
        """Failed attempts by class and place, the most frequent first.

        Read off the tallies: however many have failed, there are few of these.
        """
        failures, tallies = self._database.schema.failures, self._database.schema.failure_tallies
        grouped = (
            select(
                tallies.c.error,
                tallies.c.place,
                func.sum(tallies.c.attempts).label("attempts"),
                func.sum(tallies.c.chunks).label("chunks"),
                func.min(tallies.c.first_at).label("first_at"),
                func.max(tallies.c.last_at).label("last_at"),
                func.max(tallies.c.failure_id).label("last"),
            )
            .where(tallies.c.run_id == run_id)
            .group_by(tallies.c.error, tallies.c.place)
            .subquery()
        )
        query = (
            select(grouped, failures.c.message.label("example"), failures.c.traceback)
            .join(failures, failures.c.id == grouped.c.last)
            .order_by(grouped.c.attempts.desc(), grouped.c.error)
        )
        return [
            FailureGroup(
                row.error,
                row.place,
                int(row.attempts),
                int(row.chunks),
                row.first_at,
                row.last_at,
                row.example,
                row.traceback,
            )
            for row in connection.execute(query)
        ]

    def succeeded_since(
        self, connection: Connection, run_id: RunId, numbers: Iterable[int], at: datetime
    ) -> bool:
        """Whether anything of a run has succeeded since some time.

        Lanes tell of it by their tallies, up to a second late; what was carved lately is looked
        up itself, from the lowest of ``numbers`` on.
        """
        chunks, tallies = self._database.schema.chunks, self._database.schema.tallies
        told = select(tallies.c.id).where(tallies.c.run_id == run_id, tallies.c.at > at)
        seen = select(chunks.c.number).where(
            chunks.c.run_id == run_id,
            chunks.c.number >= min(numbers),
            chunks.c.status == str(ChunkStatus.SUCCEEDED),
            chunks.c.ended_at > at,
        )
        return bool(connection.execute(select(or_(told.exists(), seen.exists()))).scalar())
