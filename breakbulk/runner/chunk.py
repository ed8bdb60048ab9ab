"""What user code is handed: a chunk in ``process``, a run in ``finished`` and in *notify*."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from breakbulk.domain.chunk import Bounds, Claim, RunId
from breakbulk.domain.keys import Key, encode_key
from breakbulk.domain.run import Run, Summary
from breakbulk.domain.status import RunStatus
from breakbulk.sources import Source

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that a chunk belongs to.

    Attributes:
        id: its number.
        job: the job's name.
        round: 1, and one more each time failed chunks are retried.
        submitted_at: when it was submitted.
    """

    id: RunId
    job: str
    round: int
    submitted_at: datetime

    @classmethod
    def of(cls, run: Run) -> RunInfo:
        """What user code may know of a run."""
        return cls(run.id, run.job, run.round, run.submitted_at)


class Chunk(Generic[Row]):
    """A chunk in the hands of ``process``: iterate over it for its rows.

    Everything done through :attr:`session` commits together with "this chunk is done", or not
    at all. Savepoints are fine; a commit or rollback of your own is refused.

    Attributes:
        run: the run it belongs to.
        request: what the application's context gave: in Pyramid, a prepared request.
    """

    def __init__(
        self, run: Run, claim: Claim, source: Source[Row], session: Callable[[], Session]
    ) -> None:
        self._claim = claim
        self._source = source
        self._session = session
        self.run = RunInfo.of(run)
        self.request: Any = None

    @property
    def session(self) -> Session:
        """The SQLAlchemy session of the chunk's transaction, made by your own sessionmaker.

        On PostgreSQL the transaction is begun when the session, or a row, is first asked for.
        """
        return self._session()

    def __iter__(self) -> Iterator[Row]:
        return iter(self._source.rows(self.session, self._claim.bounds))

    @property
    def number(self) -> int:
        """The chunk's number in its run, from 1 in the order of keys."""
        return self._claim.ref.number

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._claim.attempt

    @property
    def bounds(self) -> Bounds:
        """The range of keys: after the first (None: from the beginning), up to the second."""
        return self._claim.bounds

    @property
    def where(self) -> ColumnElement[bool]:
        """The SQL condition of exactly these rows, for one set-based statement.

        ``chunk.session.execute(update(Product).where(chunk.where).values(…))``
        """
        return self._source.condition(self._claim.bounds)

    @property
    def row_keys(self) -> Iterator[Key]:
        """The rows' keys, in order, without the rows."""
        return iter(self._source.keys(self.session, self._claim.bounds))

    def key_for(self, row: Row) -> str:
        """An idempotency key for effects outside the database, such as mail.

        It is made of the run and the row's key and nothing else: the same in every attempt,
        split half and round, so whoever deduplicates by it acts once.
        """
        return f"breakbulk-{self.run.id}-{encode_key(self._source.key_of(row))}"

    @property
    def place(self) -> dict[str, int | str]:
        """Run, job, chunk and attempt, as log records have them."""
        return {
            "run": int(self.run.id),
            "job": self.run.job,
            "chunk": str(self._claim.ref),
            "attempt": self.attempt,
        }

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry run, job, chunk and attempt."""
        logger = logging.getLogger(f"breakbulk.job.{self.run.job}")
        return logging.LoggerAdapter(logger, self.place)

    def __repr__(self) -> str:
        return f"<Chunk {self._claim.ref} of run {self.run.id} {self._claim.bounds}>"


class FinishedRun:
    """A run in the hands of ``finished`` or ``failed``.

    What is done through :attr:`session` commits together with the run's last status, once. Where
    the rows are in another database it commits there, right before: at least once.

    Attributes:
        status: what the run will be once this has committed.
        reason: why, when it has failed or was cancelled.
        parameters: JSON values by name.
        summary: what was done.
        quarantined: rows that this round has put in quarantine.
        attempt: which try at the callback this is, from 1.
        session: the SQLAlchemy session of the callback's transaction.
        request: what the application's context gave: in Pyramid, a prepared request.
    """

    def __init__(
        self,
        run: Run,
        summary: Summary,
        session: Session,
        *,
        outcome: RunStatus,
        attempt: int,
        quarantined: int = 0,
    ) -> None:
        self.id = run.id
        self.job = run.job
        self.round = run.round
        self.submitted_at = run.submitted_at
        self.reason = run.reason
        self.status = outcome
        self.parameters: dict[str, Any] = json.loads(json.dumps(run.parameters))
        self.summary = summary
        self.quarantined = quarantined
        self.session = session
        self.attempt = attempt
        self.request: Any = None

    @property
    def idempotency_key(self) -> str:
        """For effects outside the database: the same in every attempt of this round's callback."""
        return f"breakbulk-{self.id}-round-{self.round}"

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the run."""
        extra = {"run": self.id, "job": self.job, "round": self.round}
        return logging.LoggerAdapter(logging.getLogger(f"breakbulk.job.{self.job}"), extra)


class SubmittedRun:
    """A run that is being submitted, in the hands of *notify*.

    What is done through :attr:`session` is part of the transaction that submits it: if that does
    not commit, there is no run.

    Attributes:
        id: its number.
        job: the job's name.
        parameters: JSON values by name.
        queue: the Celery queue its lanes are sent to.
        status: ``running``, or ``held`` when it waits for another one.
        submitted_at: when.
        submitted_by: by whom.
        session: the SQLAlchemy session of the transaction.
        request: what the application's context gave: in Pyramid, the request that submits it.
    """

    def __init__(self, run: Run, session: Session) -> None:
        self.id = run.id
        self.job = run.job
        self.parameters: dict[str, Any] = json.loads(json.dumps(run.parameters))
        self.queue = run.queue
        self.status = run.status
        self.submitted_at = run.submitted_at
        self.submitted_by = run.submitted_by
        self.session = session
        self.request: Any = None
