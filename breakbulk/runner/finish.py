"""Finishing a run: a question, never a countdown, and a callback that commits once a round.

A lane that finds nothing to carve and nothing on its own list locks the carve row, asks "is any
chunk unfinished?" in a statement of its own, and a compare-and-set picks the one who calls back.
The run's last status is written in the callback's own transaction.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.failure import Failure
from breakbulk.domain.nouns import CHUNKS, PARTS
from breakbulk.domain.run import Run, Summary
from breakbulk.domain.status import RunStatus
from breakbulk.domain.verdict import CALLBACK_NUMBER, Again, Hopeless
from breakbulk.errors import LostClaim
from breakbulk.jobs import JobRun
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.chunk import FinishedRun
from breakbulk.runner.context import surrounded
from breakbulk.runner.current import called_back
from breakbulk.runner.keeping import (
    ResultsRun,
    end_with,
    keeps_results,
    leave_state,
    reader_on,
)
from breakbulk.runner.patience import Backoff
from breakbulk.runner.runtime import Process, Runtime
from breakbulk.runner.tolerance import excess
from breakbulk.runner.tracing import calling_back
from breakbulk.runner.unit import ended, unit

log = logging.getLogger("breakbulk.finish")

#: The advisory lock of the callback, beside those of the chunks.
CALLBACK = "callback"
_FAILED_FOR_GOOD = tuple(f"the {nouns.callback} failed" for nouns in (CHUNKS, PARTS))
#: Instead of how often, where the callback itself has said so.
_SAID = "for good"


def close_run(
    runtime: Runtime,
    connection: Connection,
    run_id: RunId,
    *,
    tell: Callable[[Connection], None] = lambda _connection: None,
) -> bool:
    """Move a run whose work is done to ``finishing``; True when that is where it is now.

    Args:
        tell: writes down what the caller has done. A callback may take its time, and whoever looks
            meanwhile is to see all of the work.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.claims.lock(connection, run_id)
        run = ledger.runs.get(connection, run_id)
        if run.status is RunStatus.FINISHING:
            return True
        if run.status is not RunStatus.RUNNING or not ledger.claims.exhausted(connection, run_id):
            return False
        if ledger.chunks.any_unfinished(connection, run_id):
            return False
        tell(connection)
        # What per cent of the rows are is known for certain only now.
        too_much = excess(runtime, connection, run)
        return ledger.runs.move(
            connection,
            run_id,
            RunStatus.FINISHING,
            come_from=[RunStatus.RUNNING],
            actor="lane",
            reason=too_much,
            outcome=None if too_much is None else str(RunStatus.FAILED),
            finish_attempt=0,
            finish_after=None,
        )


def call_back(
    runtime: Runtime, connection: Connection, data: Connection, process: Process, lane: Lane
) -> bool:
    """Call the job back if it is due and nobody else does; True when the run has ended.

    Args:
        connection: idle, to the ledger.
        data: idle, to the rows; the same connection where they are in one database.
    """
    ledger, database = runtime.ledger, runtime.database
    token = uuid4()
    with database.transaction(connection):
        attempt = ledger.finishers.claim(connection, lane.run_id, token, lane.token)
        if attempt is None:
            return False
        run = ledger.runs.get(connection, lane.run_id)
    began = time.monotonic()

    def failed(failure: Failure, verdict: Again | Hopeless | None = None) -> bool:
        with database.transaction(connection):
            return note_callback_failure(
                runtime,
                connection,
                run,
                failure,
                token=token,
                attempt=attempt,
                worker=process.worker_name,
                host=process.host,
                seconds=time.monotonic() - began,
                verdict=verdict,
            )

    if attempt > run.policy.retry.max_retries + 1 + runtime.settings.max_losses:
        # No failure is on record, so it took its machine with it each time.
        return failed(Failure.of_death(f"the {run.nouns.callback}'s worker died each time"))
    at_work = partial(process.at_work, lane.token, run.policy.chunk_timeout)
    try:
        with calling_back(run, attempt):
            return _in_the_end(
                runtime, connection, data, run, at_work, token=token, attempt=attempt
            )
    except LostClaim as lost:
        log.warning("run %s: %s", run.id, lost)
        return False
    except BaseException as error:
        if connection.invalidated or fault_of(error) is Fault.CONNECTION:
            # The steward frees the callback once this lane has gone.
            raise
        if not isinstance(error, Exception) and process.stopping():
            # Of the shutdown, and not the callback's fault.
            raise
        if isinstance(error, Again | Hopeless) and keeps_results(runtime, run):
            failure, noun = Failure.of(error.cause), run.nouns.callback
            log.warning("run %s: the %s failed: %s", run.id, noun, failure)
            return failed(failure, error)
        ended = failed(Failure.of(error))
        # An error once, when nobody tries again.
        level = logging.ERROR if ended else logging.WARNING
        told, noun = "run %s: the %s failed (attempt %d)", run.nouns.callback
        log.log(level, told, run.id, noun, attempt, exc_info=error, extra={"attempt": attempt})
        if isinstance(error, process.exits):
            raise
        return ended


def _in_the_end(
    runtime: Runtime,
    connection: Connection,
    data: Connection,
    run: Run,
    at_work: Callable[[], AbstractContextManager[None]],
    *,
    token: UUID,
    attempt: int,
) -> bool:
    """Call back, again at once after a deadlock and the like, as long as there is patience."""
    until = time.monotonic() + runtime.settings.transient_seconds
    backoff = Backoff()
    while True:
        try:
            if runtime.at_least_once:
                return _attempt_apart(
                    runtime, connection, data, run, at_work, token=token, attempt=attempt
                )
            return _attempt(runtime, connection, run, at_work, token=token, attempt=attempt)
        except Exception as error:
            if fault_of(error) is not Fault.TRANSIENT or time.monotonic() >= until:
                raise
            log.info("run %s: the %s again at once: %s", run.id, run.nouns.callback, error)
        backoff.wait()


def _attempt(
    runtime: Runtime,
    connection: Connection,
    run: Run,
    at_work: Callable[[], AbstractContextManager[None]],
    *,
    token: UUID,
    attempt: int,
) -> bool:
    ledger, database = runtime.ledger, runtime.database
    with database.turn(), at_work(), unit(database, connection) as work:
        seal = ledger.chunks.begin_named(connection, run.id, CALLBACK)
        summary = ledger.chunks.summary(connection, run.id)
        outcome = run.outcome or _outcome(summary)
        quarantined = _quarantined(runtime, connection, run, summary)
        finished = _finished(
            runtime,
            connection,
            run,
            summary,
            work.session,
            outcome=outcome,
            attempt=attempt,
            quarantined=quarantined,
        )
        with surrounded(runtime.context, finished):
            # failpoint: before callback
            _call(runtime, run, finished)
            work.session.flush()
            work.check()
            if not database.unbroken(connection, seal):
                raise ended()
            _end(runtime, connection, run, finished, token=token, outcome=outcome, summary=summary)
            # failpoint: after callback
            work.commit()
            # failpoint: after finish
    _told(run, outcome, summary)
    return True


def _attempt_apart(
    runtime: Runtime,
    connection: Connection,
    data: Connection,
    run: Run,
    at_work: Callable[[], AbstractContextManager[None]],
    *,
    token: UUID,
    attempt: int,
) -> bool:
    # The callback first, where its tables are: a crash between the two commits repeats it.
    database, ledger = runtime.data, runtime.ledger
    with runtime.database.reading(connection):
        summary = ledger.chunks.summary(connection, run.id)
        quarantined = _quarantined(runtime, connection, run, summary)
    outcome = run.outcome or _outcome(summary)
    with database.turn(), at_work(), unit(database, data) as work:
        database.begin_writing(data)
        seal = database.seal(data)
        finished = _finished(
            runtime,
            connection,
            run,
            summary,
            work.session,
            outcome=outcome,
            attempt=attempt,
            quarantined=quarantined,
        )
        with surrounded(runtime.context, finished):
            _call(runtime, run, finished)
            work.session.flush()
            work.check()
            if not database.unbroken(data, seal):
                raise ended()
            work.commit()
    with runtime.database.transaction(connection):
        _end(runtime, connection, run, finished, token=token, outcome=outcome, summary=summary)
    _told(run, outcome, summary)
    return True


def _quarantined(runtime: Runtime, connection: Connection, run: Run, summary: Summary) -> int:
    """Rows that this round has put in quarantine; asked only where there are any at all."""
    if not summary.rows_quarantined:
        return 0
    return runtime.ledger.quarantine.count(connection, run.id, round=run.round)


def _finished(
    runtime: Runtime,
    connection: Connection,
    run: Run,
    *given: Any,
    **named: Any,
) -> FinishedRun:
    """What the callback is handed."""
    if not keeps_results(runtime, run):
        return FinishedRun(run, *given, **named)
    reader = reader_on(runtime, connection)
    with reader() as ledger:
        state = runtime.ledger.results.state(ledger, run.id, CALLBACK_NUMBER, run.round)
    return ResultsRun(run, *given, ledger=runtime.ledger, reader=reader, state=state, **named)


def _end(
    runtime: Runtime,
    connection: Connection,
    run: Run,
    finished: FinishedRun,
    *,
    token: UUID,
    outcome: RunStatus,
    summary: Summary,
) -> None:
    """Write the run's last status, if it is this caller's to write.

    Args:
        finished: what the callback had in its hands, for what it leaves; the rest it may have
            changed.
    """
    moved = runtime.ledger.runs.move(
        connection,
        run.id,
        outcome,
        come_from=[RunStatus.FINISHING],
        actor="lane",
        reason=run.reason if outcome is not RunStatus.SUCCEEDED else None,
        outcome=_decided(run),
        finisher=token,
        summary=json.dumps(summary.as_dict()),
    )
    if not moved:
        raise LostClaim(f"somebody else calls back for run {run.id}; this try was rolled back")
    if isinstance(finished, ResultsRun):
        end_with(runtime, connection, run, finished.kept, finished.outgoing)


def _told(run: Run, outcome: RunStatus, summary: Summary) -> None:
    log.info("run %s %s: %d %ss", run.id, outcome, summary.rows_done, run.nouns.row)


def _outcome(summary: Summary) -> RunStatus:
    return RunStatus.PARTIAL if summary.chunks_failed else RunStatus.SUCCEEDED


def _decided(run: Run) -> str | None:
    """The outcome that its rows have earned it, whatever became of the callback; None if open."""
    return None if run.outcome is None or run.callback_failed else str(run.outcome)


def _call(runtime: Runtime, run: Run, finished: FinishedRun) -> None:
    spec = runtime.jobs.get(run.job)
    name = "failed" if finished.status in (RunStatus.FAILED, RunStatus.CANCELLED) else "finished"
    instance = runtime.build(spec, run)
    object.__setattr__(instance, "run", JobRun(run.submitted_at, run.id))
    callback = getattr(instance, name, None)
    if callback is not None:
        with called_back(finished):
            callback(finished)
    if runtime.notify is not None:
        runtime.notify(finished)


def note_callback_failure(
    runtime: Runtime,
    connection: Connection,
    run: Run,
    failure: Failure,
    *,
    token: UUID,
    attempt: int,
    worker: str,
    host: str,
    seconds: float | None,
    at_once: bool = False,
    verdict: Again | Hopeless | None = None,
) -> bool:
    """Record a failed callback: it is tried again by the job's policy, then the run fails.

    Call it in a transaction.

    Args:
        at_once: the first retry need not wait: the process died, which the database got over.
        verdict: what the callback itself has said, where it knows whether to try again.

    Returns:
        Whether the run has ended.
    """
    ledger = runtime.ledger
    if verdict is not None and not ledger.finishers.holds(connection, run.id, token):
        return False
    wait = run.policy.retry.wait_after(attempt, failure.kinds)
    if isinstance(verdict, Again):
        attempt += leave_state(runtime, connection, run, CALLBACK_NUMBER, verdict)
    elif isinstance(verdict, Hopeless):
        wait = None
        attempt += ledger.results.state(connection, run.id, CALLBACK_NUMBER, run.round).agains
        ledger.outbox.send(connection, run, verdict.outgoing)
    ledger.failures.record(
        connection,
        run.id,
        failure,
        claim=None,
        attempt=attempt,
        worker=worker,
        host=host,
        seconds=seconds,
    )
    if isinstance(verdict, Again):
        ledger.finishers.free(connection, run.id, token, wait=verdict.seconds, try_spent=False)
        return False
    if wait is not None:
        wait = 0.0 if at_once and attempt == 1 else wait
        ledger.finishers.free(connection, run.id, token, wait=wait)
        return False
    if keeps_results(runtime, run):
        # Who is called back next begins anew: the twin, or whoever an operator has call again.
        ledger.results.forget(connection, run.id, CALLBACK_NUMBER)
    often = f"{attempt} {'time' if attempt == 1 else 'times'}"
    how = _SAID if isinstance(verdict, Hopeless) else often
    why = f"the {run.nouns.callback} failed {how}: {failure}"
    if run.outcome is None and run.has_failed:
        # Its twin is told, by whoever comes next, with tries of its own.
        ledger.finishers.free(
            connection,
            run.id,
            token,
            wait=0,
            outcome=str(RunStatus.FAILED),
            reason=why,
            finish_attempt=0,
            callback_failed=True,
        )
        return False
    summary = ledger.chunks.summary(connection, run.id)
    cancelled = run.outcome is RunStatus.CANCELLED
    return ledger.runs.move(
        connection,
        run.id,
        RunStatus.CANCELLED if cancelled else RunStatus.FAILED,
        come_from=[RunStatus.FINISHING],
        actor="lane",
        reason=why if run.reason is None else f"{run.reason}; {why}",
        outcome=_decided(run),
        finisher=token,
        callback_failed=True,
        summary=json.dumps(summary.as_dict()),
    )


def callback_has_said(reason: str | None) -> bool:
    """Whether a run has failed because its callback has said that it has."""
    return any(f"{failed} {_SAID}: " in (reason or "") for failed in _FAILED_FOR_GOOD)


def reason_without_callback(reason: str | None) -> str | None:
    """Why a run failed, but for what its callback had to do with it."""
    why = reason or ""
    for failed in _FAILED_FOR_GOOD:
        why, _, _ = why.partition(f"; {failed}")
    return None if not why or why.startswith(_FAILED_FOR_GOOD) else why


def settle(runtime: Runtime, connection: Connection, run_id: RunId) -> RunStatus | None:
    """Bring a run that is being stopped to rest once its last lane has gone; its new status."""
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.claims.lock(connection, run_id)
        if ledger.lanes.any_in(connection, run_id):
            return None
        status = ledger.runs.status(connection, run_id)
        if status is RunStatus.PAUSING:
            to, why = RunStatus.PAUSED, ledger.runs.get(connection, run_id).reason
            moved = ledger.runs.move(connection, run_id, to, actor="steward", reason=why)
            return to if moved else None
        if status is RunStatus.CANCELLING:
            run = ledger.runs.get(connection, run_id)
            # A policy may have stopped it, rather than a person.
            reason, outcome = run.reason, run.outcome or RunStatus.CANCELLED
            ledger.chunks.cancel_rest(connection, run_id)
            ledger.runs.move(
                connection,
                run_id,
                RunStatus.FINISHING,
                come_from=[RunStatus.CANCELLING],
                actor="steward",
                reason=reason,
                outcome=str(outcome),
                finish_attempt=0,
                finish_after=None,
            )
            if not run.has_failed:
                # Nobody has to be called, so nobody has to be waited for.
                summary = ledger.chunks.summary(connection, run_id)
                ledger.runs.move(
                    connection,
                    run_id,
                    outcome,
                    actor="steward",
                    reason=reason,
                    summary=json.dumps(summary.as_dict()),
                )
                return outcome
            return RunStatus.FINISHING
    return None
