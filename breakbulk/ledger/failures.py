"""Attempts that raised, died or took too long, each written down once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, distinct, func, insert, or_, select

from breakbulk.domain.chunk import ChunkRef, Claim, RunId
from breakbulk.domain.failed import FailureGroup, FailureReport
from breakbulk.domain.failure import Failure
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock


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
        """Write down an attempt; ``claim`` None for the callback's."""
        failures, runs = self._database.schema.failures, self._database.schema.runs
        after, upto = claim.bounds.encoded() if claim else (None, None)
        connection.execute(
            insert(failures).values(
                run_id=run_id,
                round=select(runs.c.round).where(runs.c.id == run_id).scalar_subquery(),
                at=clock(),
                number=claim.ref.number if claim else None,
                path=claim.ref.path if claim else None,
                attempt=attempt,
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
        )

    def latest(
        self,
        connection: Connection,
        run_id: RunId,
        *,
        of_chunks: bool = False,
        chunk: ChunkRef | None = None,
        round: int | None = None,  # noqa: A002  (the field's own word)
        error: str | None = None,
        limit: int = 20,
    ) -> list[FailureReport]:
        """The latest failed attempts, newest first.

        Args:
            of_chunks: leave out the callback's.
            chunk: only those of this chunk.
            round: only those of this round.
            error: only those that raised this class.
        """
        failures = self._database.schema.failures
        query = (
            select(*(failures.c[name] for name in FailureReport.__dataclass_fields__))
            .where(failures.c.run_id == run_id)
            .order_by(failures.c.id.desc())
            .limit(limit)
        )
        if of_chunks:
            query = query.where(failures.c.number.is_not(None))
        if chunk is not None:
            query = query.where(failures.c.number == chunk.number, failures.c.path == chunk.path)
        if round is not None:
            query = query.where(failures.c.round == round)
        if error is not None:
            query = query.where(failures.c.error == error)
        return [FailureReport(**row) for row in connection.execute(query).mappings()]

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
        """Failed attempts by class and place, the most frequent first."""
        failures = self._database.schema.failures
        grouped = (
            select(
                failures.c.error,
                failures.c.place,
                func.count().label("attempts"),
                func.count(distinct(failures.c.number)).label("chunks"),
                func.min(failures.c.at).label("first_at"),
                func.max(failures.c.at).label("last_at"),
                func.max(failures.c.id).label("last"),
            )
            .where(failures.c.run_id == run_id)
            .group_by(failures.c.error, failures.c.place)
            .subquery()
        )
        query = (
            select(grouped, failures.c.message.label("example"))
            .join(failures, failures.c.id == grouped.c.last)
            .order_by(grouped.c.attempts.desc(), grouped.c.error)
        )
        return [
            FailureGroup(
                row.error,
                row.place,
                row.attempts,
                row.chunks,
                row.first_at,
                row.last_at,
                row.example,
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
