"""Taking a dead lane's chunks back, without trusting that it is dead.

A frozen or cut-off process still has its transaction open and its rows locked; PostgreSQL would
notice a vanished client only after hours. So the sessions that hold the lane's advisory locks are
ended first, and its chunks are given out only when those sessions are gone.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import Connection

from breakbulk.domain.chunk import Claim
from breakbulk.domain.failure import Failure
from breakbulk.domain.sizing import Cause
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.finish import CALLBACK, note_callback_failure
from breakbulk.runner.isolate import note_failure
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.sizing import brake

log = logging.getLogger("breakbulk.rescue")

_SESSION_PATIENCE = 5.0
_LOOK_AGAIN = 0.02


def rescue(
    runtime: Runtime,
    connection: Connection,
    lane: Lane,
    *,
    why: str,
    failure: Failure | None = None,
    seconds: float | None = None,
) -> bool:
    """Give back what a dead lane held; False when its sessions could not be ended yet.

    Args:
        why: for people.
        failure: what the chunk in hand is to blame for: its process was seen dead while its
            worker lives, or it took too long, so the attempt counts. None (the machine is gone,
            the worker shuts down): it is a loss, counted apart.
        seconds: how long it was at it, if that is known.
    """
    ledger, database = runtime.ledger, runtime.database
    if not _end_sessions(runtime, connection, lane):
        return False
    with database.transaction(connection):
        ledger.claims.lock(connection, lane.run_id)
        if not ledger.lanes.leave(connection, lane.token):
            return True
        claims = ledger.claims.held_by_lane(connection, lane.run_id, lane.number)
        host = ledger.workers.host(connection, lane.worker_id) or "unknown"
        noun = ledger.runs.get(connection, lane.run_id).nouns.chunk
        worker = f"{host}/{lane.pid}"
        if failure is not None:
            _blame_callback(
                runtime, connection, lane, failure, worker=worker, host=host, seconds=seconds
            )
        for claim in claims[:1]:
            lost_too_often = claim.losses >= runtime.settings.max_losses
            blamed = failure or (Failure.of_death(why) if lost_too_often else None)
            if failure is not None:
                late = failure.error == Failure.of_timeout(None).error
                cause = Cause.TIMEOUT if late else Cause.DEATH
                brake(runtime, connection, claim, cause, why, actor="steward")
            if blamed is not None:
                note_failure(
                    runtime,
                    connection,
                    claim,
                    blamed,
                    worker=worker,
                    host=host,
                    seconds=seconds,
                    at_once=True,
                )
            else:
                ledger.claims.give_back(connection, claim, wait=0, attempt_spent=False, lost=True)
        if claims[1:]:
            ledger.returns.unbegun(connection, lane.run_id, {claim.owner for claim in claims})
        ledger.runs.note(
            connection,
            lane.run_id,
            actor="steward",
            verb="rescued",
            detail=f"lane {lane.number}: {why}; {noun}s given back: {_names(claims)}",
        )
    log.warning(
        "run %s: lane %d rescued (%s); %ss given back: %s",
        lane.run_id,
        lane.number,
        why,
        noun,
        _names(claims),
    )
    return True


def _blame_callback(
    runtime: Runtime,
    connection: Connection,
    lane: Lane,
    failure: Failure,
    *,
    worker: str,
    host: str,
    seconds: float | None,
) -> None:
    """If it was at a callback, that is what failed."""
    calling = runtime.ledger.finishers.of_lane(connection, lane.run_id, lane.token)
    if calling is None:
        return
    token, attempt = calling
    note_callback_failure(
        runtime,
        connection,
        runtime.ledger.runs.get(connection, lane.run_id),
        failure,
        token=token,
        attempt=attempt,
        worker=worker,
        host=host,
        seconds=seconds,
        at_once=True,
    )


def _end_sessions(runtime: Runtime, connection: Connection, lane: Lane) -> bool:
    ledger, database = runtime.ledger, runtime.database
    if not database.is_postgresql:
        return True
    deadline = time.monotonic() + _SESSION_PATIENCE
    ended: set[int] = set()
    while True:
        with database.reading(connection):
            claims = ledger.claims.held_by_lane(connection, lane.run_id, lane.number)
            names = [str(claim.ref) for claim in claims]
            if ledger.lanes.finishing(connection, lane.token, lane.run_id):
                names.append(CALLBACK)
            holders = ledger.chunks.holders(connection, lane.run_id, names, lane.label)
            for pid in set(holders) - ended:
                log.warning("run %s: ending database session %d", lane.run_id, pid)
                ledger.chunks.end_session(connection, pid)
                ended.add(pid)
        if not holders:
            return True
        if time.monotonic() > deadline:
            log.error(
                "run %s: session %s of a dead lane does not end; its chunks stay with it",
                lane.run_id,
                holders,
            )
            return False
        time.sleep(_LOOK_AGAIN)


def _names(claims: list[Claim]) -> str:
    shown = ", ".join(str(claim.ref) for claim in claims[:5])
    more = f" and {len(claims) - 5} more" if len(claims) > 5 else ""  # noqa: PLR2004
    return (shown or "none") + more
