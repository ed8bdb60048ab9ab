"""Pruning: runs that ended long ago leave the ledger, with all that it knows of them.

A run is first marked, under the lock that a retry takes, too: from then on nobody opens it again.
Then its rows go in short transactions, the run's own last, so that whoever is interrupted, or
killed, leaves a run that the next pruning goes on with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import RunNotFound, StateError
from breakbulk.runner.runtime import Runtime

log = logging.getLogger(__name__)

#: So many runs are looked up at a time.
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of a run that was to be pruned.

    Attributes:
        chunks: how many chunks it had done and given up, as its summary says.
        kept: why it is still there; None when it is gone.
    """

    run: int
    job: str
    chunks: int
    kept: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def old(
    runtime: Runtime,
    connection: Connection,
    *,
    seconds: float,
    job: str | None = None,
    statuses: frozenset[RunStatus] = FINISHED,
) -> Iterator[Run]:
    """Runs that ended so many seconds ago or longer, and those whose pruning broke off.

    Args:
        connection: idle whenever the next one is asked for.
    """
    above: RunId | None = None
    while True:
        with runtime.database.reading(connection):
            page = runtime.ledger.pruning.old(
                connection, seconds=seconds, job=job, statuses=statuses, above=above, limit=_PAGE
            )
        yield from page
        if len(page) < _PAGE:
            return
        above = page[-1].id


def judge(runtime: Runtime, connection: Connection, run: Run) -> Pruned:
    """What pruning a run would do; nothing is written."""
    with runtime.database.reading(connection):
        why = runtime.ledger.pruning.needed(connection, run)
    return _outcome(run, why)


def prune(runtime: Runtime, connection: Connection, run_id: RunId, actor: str) -> Pruned:
    """Take a run out of the ledger, unless it is still needed.

    Raises:
        RunNotFound: there is no such run, or somebody else has just pruned it.
        StateError: it has not ended.
    """
    ledger, database = runtime.ledger, runtime.database
    with database.transaction(connection):
        run = ledger.runs.get(connection, run_id)
        if not ledger.pruning.standing(connection, run_id):
            raise RunNotFound(f"Run {run_id} was pruned just now.")
        run = ledger.runs.get(connection, run_id)
        if run.status not in FINISHED:
            raise StateError(f"Run {run_id} is {run.status}: only what has ended can be pruned.")
        if run.status is not RunStatus.PRUNING:
            why = ledger.pruning.needed(connection, run)
            if why is not None:
                return _outcome(run, why)
            moved = ledger.runs.move(
                connection, run_id, RunStatus.PRUNING, actor=actor, verb="pruned"
            )
            # The lock keeps everybody away already; this is the second guard.
            if not moved:
                raise StateError(f"Run {run_id} was changed meanwhile: look at it again.")
            ledger.pruning.forget_key(connection, run_id)
    _clear(runtime, connection, run_id)
    log.info("run %d of %s pruned by %s", run_id, run.job, actor)
    return _outcome(run, None)


def _clear(runtime: Runtime, connection: Connection, run_id: RunId) -> None:
    """Delete step by step, each in a transaction of its own."""
    pruning = runtime.ledger.pruning
    steps = pruning.steps(connection, run_id)
    done = object()
    while True:
        with runtime.database.transaction(connection):
            # Two who prune the same run would wait for each other's rows in any order.
            if not pruning.standing(connection, run_id) or next(steps, done) is done:
                return


def _outcome(run: Run, kept: str | None) -> Pruned:
    chunks = 0 if run.summary is None else run.summary.chunks_done + run.summary.chunks_failed
    return Pruned(run.id, run.job, chunks, kept)
