"""What an operator may do to a run: pause, resume, cancel."""

from __future__ import annotations

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, WORKABLE, RunStatus
from breakbulk.errors import StateError
from breakbulk.runner.finish import settle
from breakbulk.runner.runtime import Runtime


def pause(
    runtime: Runtime, connection: Connection, run_id: RunId, actor: str, reason: str | None = None
) -> RunStatus:
    """Let the chunks in hand end and start no others; the status reached so far.

    Raises:
        StateError: the run is not running.
    """
    return _stop(runtime, connection, run_id, to=RunStatus.PAUSING, actor=actor, reason=reason)


def cancel(
    runtime: Runtime,
    connection: Connection,
    run_id: RunId,
    actor: str,
    reason: str | None = None,
    *,
    force: bool = False,
) -> RunStatus:
    """End the run for good after the chunks in hand; the status reached so far.

    Args:
        force: do not wait for the chunks in hand: their workers' stewards end them.

    Raises:
        StateError: the run has ended already.
    """
    to = RunStatus.CANCELLING
    return _stop(runtime, connection, run_id, to=to, actor=actor, reason=reason, force=force)


def resume(
    runtime: Runtime, connection: Connection, run_id: RunId, actor: str, reason: str | None = None
) -> RunStatus:
    """Go on with a run that is paused or held.

    Args:
        reason: why; it is noted in the activity, for a run that goes on has no reason.

    Raises:
        StateError: it is neither, or it still stands behind another run.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.runs.get(connection, run_id)
        # The carve row before the run's, as everywhere.
        ledger.claims.lock(connection, run_id)
        run = ledger.runs.get(connection, run_id)
        if run.status in WORKABLE:
            return run.status
        if run.waits_for is not None:
            raise StateError(
                f"Run {run_id} waits for run {run.waits_for} of the same job to end;"
                f" cancel that one to let it start."
            )
        status = ledger.runs.goes_on_as(connection, run_id)
        moved = ledger.runs.move(
            connection,
            run_id,
            status,
            come_from=[RunStatus.PAUSED, RunStatus.PAUSING, RunStatus.HELD],
            actor=actor,
            verb="resumed",
            detail=reason,
        )
        if moved and run.suspect is not None:
            # What failed for the reason that is put right now has its tries before it still.
            ledger.retries.give_tries_back(connection, run_id)
        if not moved:
            raise StateError(f"Run {run_id} is {run.status}: only a stopped run can be resumed.")
    return status


def _stop(
    runtime: Runtime,
    connection: Connection,
    run_id: RunId,
    *,
    to: RunStatus,
    actor: str,
    reason: str | None,
    force: bool = False,
) -> RunStatus:
    ledger = runtime.ledger
    said = reason or (f"cancelled by {actor}" if to is RunStatus.CANCELLING else None)
    with runtime.database.transaction(connection):
        moved = ledger.runs.move(connection, run_id, to, actor=actor, reason=said)
        if force:
            # Of what is cancelled in the same breath the reason is told already.
            again = None if moved else reason
            ledger.runs.force(connection, run_id, actor=actor, reason=again)
        run = ledger.runs.get(connection, run_id)
    reached = {RunStatus.PAUSING: RunStatus.PAUSED, RunStatus.CANCELLING: RunStatus.CANCELLED}[to]
    # Asking again for what is so already, or about to be, is no mistake.
    if not moved and run.status not in (to, reached) and run.outcome is not reached:
        raise StateError(_why_not(run, to))
    return settle(runtime, connection, run_id) or run.status


def _why_not(run: Run, to: RunStatus) -> str:
    verb = "paused" if to is RunStatus.PAUSING else "cancelled"
    if run.status in FINISHED:
        return f"Run {run.id} has ended ({run.status}): it cannot be {verb} any more."
    if run.status is RunStatus.FINISHING:
        return (
            f"Run {run.id} is finishing: its rows are done and only its callback is due,"
            f" so it cannot be {verb} any more."
        )
    return f"Run {run.id} is {run.status}: only a run that is running can be paused."
