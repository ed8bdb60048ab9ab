"""Trying again what failed: a run's next round, or its callback alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from breakbulk.domain.chunk import RunId, chunk_name
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import OverlapError, StateError
from breakbulk.runner.finish import reason_without_callback
from breakbulk.runner.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of a run's failed chunks are meant; all of them unless something is given.

    Attributes:
        error: those that failed with this exception: its full name, or its last part.
        chunk: this chunk and the parts it was split into: number and path.
        key: the row in quarantine with this key, encoded.
    """

    error: str | None = None
    chunk: tuple[int, str] | None = None
    key: str | None = None

    def __str__(self) -> str:
        parts = []
        if self.error is not None:
            parts.append(f"with {self.error}")
        if self.chunk is not None:
            parts.append(f"in chunk {chunk_name(*self.chunk)}")
        if self.key is not None:
            parts.append(f"with the key {self.key}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry opened again.

    Attributes:
        round: the round that has begun.
        chunks: how many chunks wait to be tried again.
        rows: how many rows these have.
    """

    run: int
    round: int
    chunks: int
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def retry(
    runtime: Runtime,
    connection: Connection,
    run_id: RunId,
    actor: str,
    choice: Choice,
    *,
    reason: str | None = None,
) -> Retried:
    """Open a run's next round with what failed; what has succeeded is never done again.

    Args:
        reason: why; it is noted in the activity, for a run that goes on has no reason.

    Raises:
        RunNotFound: there is no such run.
        StateError: it has not ended, was cancelled, or nothing that failed is meant.
        OverlapError: another run of the same job and parameters goes on.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.runs.get(connection, run_id)
        ledger.claims.lock(connection, run_id)
        run = ledger.runs.get(connection, run_id)
        _refuse(run)
        if ledger.runs.goes_on_as(connection, run_id) is RunStatus.LOADING:
            raise StateError(_half_loaded(run))
        # What a policy has stopped was not even tried: it belongs to all that is left to do.
        stopped = run.status is RunStatus.FAILED
        chunks, rows = ledger.retries.reopen(
            connection,
            run_id,
            error=choice.error,
            chunk=choice.chunk,
            key=choice.key,
            cancelled=stopped,
        )
        left = stopped and not ledger.claims.exhausted(connection, run_id)
        if not chunks and not left:
            raise StateError(_nothing(run, choice))
        reopen(
            runtime,
            connection,
            run,
            RunStatus.RUNNING,
            actor,
            verb="retried",
            detail=reason,
            round=run.round + 1,
        )
    return Retried(run_id, run.round + 1, chunks, rows)


def finish_again(
    runtime: Runtime, connection: Connection, run_id: RunId, actor: str, reason: str | None = None
) -> RunStatus:
    """Call a run back again whose callback failed for good; its status then.

    Args:
        reason: why; it is noted in the activity, for the run keeps the reason of its rows.

    Raises:
        RunNotFound: there is no such run.
        StateError: it was not the callback that failed.
        OverlapError: another run of the same job and parameters goes on.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.runs.get(connection, run_id)
        ledger.claims.lock(connection, run_id)
        run = ledger.runs.get(connection, run_id)
        if run.status is RunStatus.FINISHING:
            return run.status
        if run.status is not RunStatus.FAILED or not run.callback_failed:
            but = ", and not because its callback failed" if run.status is RunStatus.FAILED else ""
            raise StateError(f"Run {run_id} is {run.status}{but}: there is nothing to finish.")
        # What its rows have earned it stays: a run that its policy has stopped is told failed().
        outcome = None if run.outcome is None else str(run.outcome)
        earned = reason_without_callback(run.reason)
        reopen(
            runtime,
            connection,
            run,
            RunStatus.FINISHING,
            actor,
            detail=reason,
            outcome=outcome,
            reason=earned,
        )
    return RunStatus.FINISHING


def reopen(
    runtime: Runtime,
    connection: Connection,
    run: Run,
    to: RunStatus,
    actor: str,
    **values: Any,
) -> None:
    """Let a run that has ended go on; call it with the carve row locked.

    Raises:
        OverlapError: another run of the same job and parameters goes on.
    """
    runs = runtime.ledger.runs
    try:
        moved = runs.move(
            connection,
            run.id,
            to,
            come_from=[run.status],
            actor=actor,
            forced=False,
            finished_at=None,
            finisher=None,
            finish_attempt=0,
            finish_after=None,
            callback_failed=False,
            suspect=None,
            summary=None,
            slot=runs.place if run.alone else None,
            **{"outcome": None, **values},
        )
    except IntegrityError as error:
        raise OverlapError(
            f"Another run of {run.job} with the same parameters goes on:"
            f" retry run {run.id} when it has ended."
        ) from error
    assert moved


def _refuse(run: Run) -> None:
    if run.status not in FINISHED:
        raise StateError(
            f"Run {run.id} is still {run.status}: what failed can be retried when it has ended."
        )
    if run.status is RunStatus.PRUNING:
        raise StateError(f"Run {run.id} is being pruned: nothing of it can be retried any more.")
    if run.status is RunStatus.CANCELLED:
        how = run.nouns.submit
        raise StateError(f"Run {run.id} was cancelled: {how} again to do the rest.")
    if run.status is RunStatus.SUCCEEDED:
        raise StateError(f"Run {run.id} succeeded: nothing of it has failed.")


def _half_loaded(run: Run) -> str:
    how = run.nouns.submit
    if run.idempotency_key is None:
        how += " anew"
    else:
        how += f" again with the idempotency key {run.idempotency_key!r}"
    return (
        f"The {run.nouns.source} of run {run.id} was not read to its end, so there is more to do"
        f" than what failed: {how}."
    )


def _nothing(run: Run, choice: Choice) -> str:
    if run.callback_failed:
        return (
            f"No {run.nouns.chunk} of run {run.id} has failed, only its {run.nouns.callback}:"
            f" 'breakbulk finish {run.id}' tries that again."
        )
    meant = f" {choice}" if str(choice) else ""
    return f"Nothing of run {run.id} has failed{meant}; 'breakbulk errors {run.id}' lists what has."
