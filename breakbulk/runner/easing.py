"""Making chunks smaller that size themselves, where they and the application wait for each other.

A lock timeout tells of that, too, but not everybody has one, and the application's is not ours.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from breakbulk.domain.run import Run
from breakbulk.domain.sizing import Cause
from breakbulk.domain.status import WORKABLE
from breakbulk.ledger.blocking import LockWait
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.sizing import brake

#: A wait is long when it lasts longer than the chunk is to take, and in any case when PostgreSQL
#: takes it for one: that is the default of its ``deadlock_timeout``, in seconds.
_LONG = 1.0


def is_eased(runtime: Runtime, run: Run) -> bool:
    """Whether somebody has to look who waits for a run's chunks, and for whom they wait."""
    sizes_itself = run.chunk_seconds is not None and run.status in WORKABLE
    return sizes_itself and runtime.data.is_postgresql


def ease(
    runtime: Runtime, connection: Connection, waits: Collection[LockWait], runs: Collection[Run]
) -> None:
    """Make the chunks of runs smaller that have waited for long, or were waited for.

    Args:
        connection: idle, to the ledger.
        waits: all there are, of whichever run.
        runs: those that :func:`is_eased` tells of.
    """
    if not waits:
        return
    with runtime.database.reading(connection):
        lanes = {lane.label: lane for lane in runtime.ledger.lanes.all(connection)}
    limits = {run.id: min(run.chunk_seconds or _LONG, _LONG) for run in runs}
    for wait in waits:
        lane = lanes.get(wait.label)
        if lane is not None and wait.seconds > limits.get(lane.run_id, float("inf")):
            _ease(runtime, connection, lane, wait)


def _ease(runtime: Runtime, connection: Connection, lane: Lane, wait: LockWait) -> None:
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        # Whoever has it, be it for a carve or to stop the run: there is a next look.
        if not ledger.claims.lock(connection, lane.run_id, wait=False):
            return
        held = ledger.claims.held_by_lane(connection, lane.run_id, lane.number)
        if held:
            brake(runtime, connection, held[0], Cause.LOCK, _told(wait), actor="steward")


def _told(wait: LockWait) -> str:
    if wait.waits:
        return f"it has waited {wait.seconds:.1f} s for a lock that the application holds"
    return f"the application has waited {wait.seconds:.1f} s for a lock that it holds"
