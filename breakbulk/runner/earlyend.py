"""Iterables that end early: noticed, and the run stopped, so that it never succeeds with half."""

from __future__ import annotations

import logging
from uuid import UUID

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.status import RunStatus
from breakbulk.ledger.loads import Load
from breakbulk.runner.finish import settle
from breakbulk.runner.runtime import Runtime, is_alive

log = logging.getLogger("breakbulk.load")


def end_lost(runtime: Runtime, connection: Connection, judge: UUID) -> None:
    """Stop runs whose iterable nobody reads any more.

    Args:
        connection: idle.
        judge: the worker that looks.
    """
    database, loads = runtime.database, runtime.ledger.loads
    with database.reading(connection):
        lost = loads.lost(connection, judge, runtime.settings.lease_seconds)
    for found in lost:
        if not gone(runtime, found):
            continue
        token = None if found.producer is None else found.producer.token
        why = _silence(runtime, found)
        if end_early(runtime, connection, found.run_id, token, why, silent=True):
            log.error("run %s: nobody reads its source any more", found.run_id)


def end_early(
    runtime: Runtime,
    connection: Connection,
    run_id: RunId,
    token: UUID | None,
    why: str | None,
    *,
    silent: bool = False,
) -> bool:
    """Stop a run whose iterable has ended early; whether that was this caller's to do.

    A run that stands still by name is stopped when it is resumed: its producer has gone, which is
    noted, and with it why.

    Args:
        connection: idle.
        token: the producer that is no more.
        why: for people; None when that is on record.
        silent: only if the producer has not been heard from meanwhile.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        ledger.claims.lock(connection, run_id)
        dropped = ledger.loads.drop(connection, run_id, token, error=why, silent=silent)
        if dropped is None:
            return False
        nouns = ledger.runs.get(connection, run_id).nouns
        stopped = ledger.runs.move(
            connection,
            run_id,
            RunStatus.CANCELLING,
            come_from=[RunStatus.LOADING],
            actor="producer",
            reason=f"{nouns.source} ended early at {nouns.item} {dropped.items}: {dropped.error}",
            outcome=str(RunStatus.FAILED),
        )
    if stopped:
        settle(runtime, connection, run_id)
    return True


def gone(runtime: Runtime, found: Load) -> bool:
    """Whether the producer is no more, as far as its lease can tell, and its process."""
    if found.producer is None:
        return True
    if not found.expired:
        return False
    if runtime.database.is_postgresql:
        return True
    # All are on one machine, and lanes may leave no room for a lease to be extended.
    return not is_alive(found.producer.pid, found.producer.process_started)


def _silence(runtime: Runtime, found: Load) -> str | None:
    if found.producer is None:
        return None
    seconds = runtime.settings.lease_seconds
    return (
        f"process {found.producer.pid} on {found.producer.host}, which read it, was not heard from"
        f" for {seconds:g} s"
    )
