"""Tasks that this process does not know, and another worker of the queue does.

A worker that was not told of a module is no reason to stop a canvas: its parts are left to those
who know them. Nor is it one to try each of them here, so the process lets that run be for a while.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.finding import Finding, Severity, Subject
from breakbulk.domain.run import Run
from breakbulk.ledger.workers import Worker
from breakbulk.runner.runtime import Process, Runtime

#: Under this name a worker tells, beside its settings, which tasks it knows.
TASKS = "tasks"
#: So long a run is let be, in seconds; then the one who knew its tasks may be gone.
_LET_BE = 60.0
_NAMED = 3

_let_be: dict[tuple[object, RunId], float] = {}


def leave_to_others(
    runtime: Runtime, connection: Connection, run: Run, process: Process, task: str | None
) -> bool:
    """Let a run be for a while if a live worker of its queue knows a task; whether one does.

    Args:
        connection: idle.
    """
    with runtime.database.reading(connection):
        workers = runtime.ledger.workers.live(connection)
    others = (one for one in workers if one.id != process.worker_id and not one.draining)
    if not any(run.queue in one.queues and task in _tasks_of(one) for one in others):
        return False
    _let_be[runtime.database.identity, run.id] = time.monotonic() + _LET_BE
    return True


def is_left_to_others(runtime: Runtime, run_id: RunId) -> bool:
    """Whether this process lets a run be."""
    if not _let_be:
        return False
    now = time.monotonic()
    for place in [place for place, until in _let_be.items() if until <= now]:
        _let_be.pop(place, None)
    return (runtime.database.identity, run_id) in _let_be


def check_tasks(workers: Iterable[Worker]) -> Iterator[Finding]:
    """Say which workers do not know tasks that others of the same queue know."""
    telling = [one for one in workers if one.settings and TASKS in one.settings]
    for worker in telling:
        known = set(_tasks_of(worker))
        fellows = (one for one in telling if set(one.queues) & set(worker.queues))
        missing = sorted({task for one in fellows for task in _tasks_of(one)} - known)
        if not missing:
            continue
        more = len(missing) - _NAMED
        names = ", ".join(missing[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield Finding(
            Severity.WARNING,
            Subject.WORKERS,
            f"Worker {worker.pid} on {worker.host} does not know {names}, which another worker of"
            " its queue knows: parts of a canvas are left to that one.",
            "Start all workers of a queue with the same code, or give the tasks a queue of their"
            " own.",
        )


def _tasks_of(worker: Worker) -> tuple[str, ...]:
    return tuple((worker.settings or {}).get(TASKS, ()))
