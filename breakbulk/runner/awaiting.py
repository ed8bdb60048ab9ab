"""Runs that start later: at a time, or when somebody gives them what they await."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.domain.verdict import INCOMING_NUMBER
from breakbulk.runner.finish import settle
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.steward")

PATIENCE = 60.0
"""Seconds until what is missing is not only late."""


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


def leading_key(run_id: RunId, key: str | None) -> str:
    """The idempotency key of the run that is to release another one: so it is found again.

    Args:
        run_id: the run that awaits.
        key: its own key, if it has one.
    """
    return f"{f'run {run_id}' if key is None else key}:leading"


class Forgotten:
    """Finds runs that await what nobody gives them any more, and does what was forgotten.

    Whoever submits both runs may die between the two, and the message that releases the second
    one may be lost with its broker.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._since: dict[RunId, float] = {}

    def look(self, connection: Connection, active: Iterable[Run]) -> None:
        """Look once; what has stood so for a minute is forgotten, and not under way.

        Args:
            connection: idle.
            active: the runs that have not ended.
        """
        now = time.monotonic()
        # While it is loading, its submitter is at work, or is found dead.
        awaiting = [run for run in active if run.awaits and run.status is not RunStatus.LOADING]
        stuck: dict[RunId, float] = {}
        for run in awaiting:
            with self._runtime.database.reading(connection):
                leading = self._leading(connection, run)
            if leading is not None and leading.status not in FINISHED:
                continue
            stuck[run.id] = self._since.get(run.id, now)
            if now - stuck[run.id] >= PATIENCE:
                self._end(connection, run, leading)
        self._since = stuck

    def _leading(self, connection: Connection, run: Run) -> Run | None:
        key = leading_key(run.id, run.idempotency_key)
        found = self._runtime.ledger.runs.find(
            connection, job=run.job, idempotency_key=key, limit=1
        )
        return found[0] if found else None

    def _end(self, connection: Connection, run: Run, leading: Run | None) -> None:
        if leading is not None and leading.status is RunStatus.SUCCEEDED:
            with self._runtime.database.reading(connection):
                value = self._runtime.ledger.results.get(connection, leading.id, 1)
            if release(self._runtime, connection, run.id, value or "null") is not None:
                log.warning("run %s: released, its message was lost", run.id)
            return
        why = "the task in front of it was never submitted: whoever applied it died; apply it again"
        if leading is not None:
            told = "" if leading.reason is None else f": {leading.reason}"
            why = f"the task in front of it is {leading.status} in run {leading.id}{told}"
        if cancel_awaiting(self._runtime, connection, run.id, why):
            log.warning("run %s: cancelled, %s", run.id, why)
