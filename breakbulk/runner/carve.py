"""Cutting the next chunks off a run's frontier, just in time.

The keys are walked without any lock; under the lock only one question is asked ("is the frontier
still where I started?") before the chunks are inserted. Submit therefore costs the same for a
thousand rows and a billion, and no lane ever waits long for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.allowance import Allowance
from breakbulk.domain.chunk import Claim, RunId, Scout, Walk
from breakbulk.domain.failure import Failure
from breakbulk.domain.keys import decode_key
from breakbulk.domain.run import Run
from breakbulk.errors import SourceError
from breakbulk.ledger.claims import Frontier
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.pacing import share_of_last, share_of_rest
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.sizing import Sized, size_now
from breakbulk.sources import Source

#: How long others leave a long walk to the lane that is at it, in seconds.
_WALKER_SECONDS = 10.0


class Ground(Enum):
    """What a carve that gave no chunk found."""

    EXHAUSTED = "nothing is left to carve"
    MOVED = "somebody else was faster: try again"
    WALKING = "no match so far, and the walk goes on: try again"
    WALKED_BY_ANOTHER = "another lane is on a long walk: wait for it"
    LOADING = "the source has given nothing new yet: wait for more"
    CAPPED = "the run may not begin more rows yet: wait for it, or leave the slot"
    STOPPED = "the run wants no work, or this lane was declared dead"


@dataclass(frozen=True, slots=True)
class Carved:
    """What one try at carving gave.

    Attributes:
        wait: seconds until rows may be begun, where a cap is the ground.
        lanes: how many are at the run, where something was carved.
    """

    claims: tuple[Claim, ...] = ()
    ground: Ground | None = None
    wait: float = 0.0
    lanes: int = 1


def carve(
    runtime: Runtime,
    connection: Connection,
    data: Connection,
    *,
    run: Run,
    lane: Lane,
    source: Source[object],
    chunks: int,
    owner: UUID,
    least: int = 1,
    wait: bool = True,
) -> Carved:
    """Try once to carve up to ``chunks`` chunks for a lane.

    Args:
        least: so many are worth a carve where few are left.
        connection: idle, to the ledger.
        data: idle, to the rows; the same connection where they are in one database.
        owner: a new token, noted by the lane.
        wait: False: who finds the carve row locked takes the frontier for moved.

    Raises:
        SourceError: the rows cannot be walked.
        DBAPIError: the ledger is in trouble, or the rows are in one that goes away again.
    """
    database, claims = runtime.database, runtime.ledger.claims
    until, whole = None if run.until is None else decode_key(run.until), True
    allowance: Allowance | None = None
    with database.reading(connection):
        frontier = claims.frontier(connection, run.id, lane.token)
        if (cap := frontier.throttle.max_rows_per_second) is not None:
            allowance = runtime.ledger.throttles.allowance(connection, run.id, cap)
        if run.of_items and until is None:
            # It was loading when this lane came: how far is it now?
            until, whole = runtime.ledger.loads.reach(connection, run.id)
        sized = size_now(runtime, connection, run, number=frontier.number, chunks=chunks)
    if frontier.exhausted or (until is None and whole):
        return Carved(ground=Ground.EXHAUSTED)
    if until is None or (until == frontier.upto and not whole):
        return Carved(ground=Ground.LOADING)
    if frontier.walker_busy:
        return Carved(ground=Ground.WALKED_BY_ANOTHER)
    # A cap on rows a second is no wish but a limit.
    size = frontier.throttle.chunk_size(sized.rows)
    chunks = _share(frontier, size, sized.chunks, least)
    if allowance is not None:
        if allowance.wait:
            return Carved(ground=Ground.CAPPED, wait=allowance.wait)
        chunks = allowance.chunks(chunks, size)
    try:
        with runtime.data.reading(data):
            walk = source.walk(
                data,
                after=frontier.upto,
                scout=_scout(frontier, size),
                until=until,
                chunk_size=size,
                chunks=chunks,
            )
    except DBAPIError as error:
        if fault_of(error) is Fault.ROWS:
            raise SourceError(f"the rows cannot be walked: {Failure.of(error)}") from error
        raise
    return _insert(
        runtime,
        connection,
        frontier,
        walk,
        run=run,
        lane=lane,
        owner=owner,
        sized=sized,
        whole=whole,
        wait=wait,
    )


def _share(frontier: Frontier, size: int, chunks: int, least: int) -> int:
    """How many chunks of a size to take, as far as it is known how many are left."""
    if frontier.expected is None:
        return chunks
    left = (frontier.expected - frontier.rows) / size
    return share_of_rest(chunks, least, left, frontier.lanes)


def _scout(frontier: Frontier, size: int) -> Scout | None:
    """How far somebody has walked, unless so much lies behind it that it would be too large.

    The scout had a larger chunk in mind; what it has found is looked for once more then.
    """
    scout = frontier.scout
    if scout is not None and scout.rows > size:
        return None
    return scout


def _insert(
    runtime: Runtime,
    connection: Connection,
    frontier: Frontier,
    walk: Walk,
    *,
    run: Run,
    lane: Lane,
    owner: UUID,
    sized: Sized,
    whole: bool,
    wait: bool,
) -> Carved:
    claims = runtime.ledger.claims
    take = share_of_last(len(walk.cuts)) if walk.reached_end else len(walk.cuts)
    # Durable later: the first chunk's own commit implies it, the log is sequential. After a
    # crash that undid it the lane's claims are read again, so nothing is believed that is gone.
    with runtime.database.transaction(connection, durable=False):
        if not claims.lock(connection, run.id, wait=wait):
            return Carved(ground=Ground.MOVED)
        if not claims.may_work(connection, run.id, lane.token):
            return Carved(ground=Ground.STOPPED)
        moved = claims.frontier(connection, run.id, lane.token) != frontier
        if moved or sized.overtaken(runtime, connection, run.id):
            return Carved(ground=Ground.MOVED)
        # Who has taken of a cap since then has moved the frontier, or took what waited.
        cap = frontier.throttle.max_rows_per_second
        if (rest := cap_wait(runtime, connection, run.id, cap)) > 0:
            return Carved(ground=Ground.CAPPED, wait=rest)
        # No cut but the end: the last chunk happened to end there, and nobody has said so yet.
        if take == 0 and not walk.reached_end:
            if walk.scout is not None:
                claims.note_scout(connection, run.id, lane.token, walk.scout, _WALKER_SECONDS)
            return Carved(ground=Ground.WALKING)
        carved = claims.carve(
            connection,
            run.id,
            frontier,
            walk.cuts[:take],
            lane=lane.number,
            owner=owner,
            exhausts=whole and walk.reached_end and take == len(walk.cuts),
        )
        use_cap(runtime, connection, run.id, cap, sum(claim.rows for claim in carved))
        if carved:
            sized.record(runtime, connection, run.id, f"lane {lane.number}")
    ground = None if carved else Ground.EXHAUSTED
    return Carved(claims=tuple(carved), ground=ground, lanes=frontier.lanes)


def cap_wait(runtime: Runtime, connection: Connection, run_id: RunId, cap: float | None) -> float:
    """Seconds until a run may begin more rows; call it with the carve row locked.

    Args:
        cap: rows a second, as it is by now: it may have been changed since the lane came.
    """
    return 0.0 if cap is None else runtime.ledger.throttles.allowance(connection, run_id, cap).wait


def use_cap(
    runtime: Runtime, connection: Connection, run_id: RunId, cap: float | None, rows: int
) -> None:
    """Note that rows are begun; below 0: that they are not after all.

    Call it with the carve row locked.

    Args:
        cap: rows a second, as it is by now.
    """
    throttles = runtime.ledger.throttles
    if cap is not None and rows:
        allowance = throttles.allowance(connection, run_id, cap)
        throttles.use(connection, run_id, allowance.after(rows))
