"""Runs that start later: at a time, or when somebody gives them what they await."""

from __future__ import annotations

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.domain.verdict import INCOMING_NUMBER
from breakbulk.runner.finish import settle
from breakbulk.runner.runtime import Runtime


def starts_later(run: Run) -> bool:
    """Whether no lane was to come when the run was submitted."""
    return run.awaits or run.not_before is not None


def release(runtime: Runtime, connection: Connection, run_id: RunId, value: str) -> Run | None:
    """Give a run what it awaits, once, so that it starts; the run, or None if it was given that.

    Args:
        connection: idle.
        value: JSON text.

    Raises:
        RunNotFound: there is no such run.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.runs.get(connection, run_id)
        if not ledger.runs.release(connection, run_id):
            return None
        ledger.results.put(connection, run_id, INCOMING_NUMBER, value)
        return ledger.runs.get(connection, run_id)


def cancel_awaiting(runtime: Runtime, connection: Connection, run_id: RunId, why: str) -> bool:
    """Cancel a run that awaits what will not come; False when it does not await it any more.

    Args:
        connection: idle.
        why: in one sentence, for operators.

    Raises:
        RunNotFound: there is no such run.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.runs.get(connection, run_id)
        if not ledger.runs.release(connection, run_id):
            return False
        cancelled = ledger.runs.move(
            connection, run_id, RunStatus.CANCELLING, actor="canvas", reason=why
        )
    settle(runtime, connection, run_id)
    return cancelled
