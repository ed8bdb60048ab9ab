"""How far runs are: any number of them in a few statements, whatever chunks they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.progress import Progress, Throttled
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, UNFINISHED_CHUNK, WORKABLE, ChunkStatus, RunStatus
from breakbulk.domain.throttling import ThrottleState
from breakbulk.ledger.beginning import seconds_since_submit, seconds_taken
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between
from breakbulk.ledger.standstill import Standstill
from breakbulk.ledger.throttles import Throttles

#: The rate is that of the last seconds: long enough to be steady, short enough to be true.
RATE_WINDOW = 10.0
_SHORT_WINDOW = RATE_WINDOW / 2
_STEADY_AFTER = 3.0
_STEADY_WITHIN = 2.0
"""The rates of the last and of the last few seconds may differ by that factor."""
_GIVEN_UP = (ChunkStatus.FAILED, ChunkStatus.SKIPPED)
_WALKED = frozenset({RunStatus.SUCCEEDED, RunStatus.PARTIAL})


def progress_of(
    database: Database, connection: Connection, runs: Sequence[Run]
) -> dict[RunId, Progress]:
    """How far each of these runs is.

    Rows and chunks done are the tallies' sums while a run goes on and the exact count once it has
    ended. The total is read off the last chunk, which knows all rows up to itself.
    """
    if not runs:
        return {}
    places = _places(database, connection, [run.id for run in runs])
    # What has ended has been counted: its summary is asked instead.
    uncounted = [run.id for run in runs if not _is_counted(run)]
    sums = _sums(database, connection, uncounted) if uncounted else {}
    counts = _open_counts(database, connection, uncounted) if uncounted else {}
    states = _throttles(database, connection, runs)
    standstill = Standstill(database)
    found = {}
    for run in runs:
        place = places[run.id]
        start = standstill.start(connection, run)
        waits = start or standstill.cause(connection, run, int(place.lanes))
        progress = _progress(run, place, sums.get(run.id), counts.get(run.id, {}))
        throttled = None
        # Without a worker nobody looks at what it holds back on.
        if run.throttle and run.status in WORKABLE and waits is None:
            throttled = Throttled.of(states.get(run.id), run.throttled_to)
        later = start is not None
        found[run.id] = replace(progress, waits=waits, throttled=throttled, later=later)
    return found


def _throttles(
    database: Database, connection: Connection, runs: Sequence[Run]
) -> dict[RunId, ThrottleState]:
    throttled = [run.id for run in runs if run.throttle and run.status in WORKABLE]
    return Throttles(database).states(connection, throttled) if throttled else {}


def _progress(run: Run, place: Any, sums: Any | None, counts: dict[str, int]) -> Progress:
    carved = int(place.rows_upto or 0)
    total = carved if place.exhausted else max(run.rows_estimate or 0, carved) or None
    if run.of_items and run.until is None and not place.exhausted:
        # Nobody knows how much an iterable has before its end.
        total = None
    outrun = total is not None and not place.exhausted and carved > (run.rows_estimate or 0)
    rows_done = int(sums.rows) if sums is not None else 0
    chunks_done = int(sums.chunks) if sums is not None else 0
    chunks_failed = sum(counts.get(str(status), 0) for status in _GIVEN_UP)
    elapsed = max(float(place.elapsed), 0.0)
    if run.summary is not None and _is_counted(run):
        rows_done, chunks_done = run.summary.rows_done, run.summary.chunks_done
        chunks_failed = run.summary.chunks_failed
        # Rows come and go: what was split since it was carved was counted anew.
        walked = rows_done + run.summary.rows_failed
        if run.status in _WALKED:
            total = walked
        elif walked and total is not None:
            total = max(total, walked)
    elif total is not None:
        rows_done = min(rows_done, total)
    return Progress(
        status=run.status,
        reason=run.reason,
        rows_done=rows_done,
        rows_total=total,
        total_is_exact=bool(place.exhausted),
        chunks_done=chunks_done,
        chunks_carved=int(place.number or 0),
        chunks_failed=chunks_failed,
        chunks_waiting=counts.get(str(ChunkStatus.WAITING), 0),
        lanes=int(place.lanes),
        rate=0.0 if run.status in FINISHED or sums is None else _rate(sums),
        elapsed=elapsed,
        stood=max(float(place.age) - elapsed, 0.0),
        total_is_outrun=outrun,
        nouns=run.nouns,
        rate_is_steady=sums is not None and _is_steady(sums),
    )


def _is_counted(run: Run) -> bool:
    return run.status in FINISHED and run.summary is not None


def _places(database: Database, connection: Connection, ids: Sequence[RunId]) -> dict[RunId, Any]:
    """How far each run is carved, for how long it has gone on, and its lanes.

    In one statement: a last chunk carved between two would be missing in a total said to be exact.
    """
    schema = database.schema
    runs, carves, chunks, lanes = schema.runs, schema.carves, schema.chunks, schema.lanes

    def last(column: Any) -> Any:
        return (
            select(column)
            .where(chunks.c.run_id == runs.c.id)
            .order_by(chunks.c.number.desc(), chunks.c.path.desc())
            .limit(1)
            .correlate(runs)
            .scalar_subquery()
        )

    at_work = (
        select(func.count()).where(lanes.c.run_id == runs.c.id).correlate(runs).scalar_subquery()
    )
    query = (
        select(
            runs.c.id,
            carves.c.exhausted_at.is_not(None).label("exhausted"),
            seconds_since_submit(schema).label("age"),
            seconds_taken(schema).label("elapsed"),
            last(chunks.c.number).label("number"),
            last(chunks.c.rows_upto).label("rows_upto"),
            at_work.label("lanes"),
        )
        .join(carves, carves.c.run_id == runs.c.id)
        .where(runs.c.id.in_(ids))
    )
    return {RunId(row.id): row for row in connection.execute(query)}


def _sums(database: Database, connection: Connection, ids: Sequence[RunId]) -> dict[RunId, Any]:
    tallies = database.schema.tallies
    lately = tallies.c.at >= clock(-RATE_WINDOW)
    just_now = tallies.c.at >= clock(-_SHORT_WINDOW)
    query = (
        select(
            tallies.c.run_id,
            func.sum(tallies.c.rows).label("rows"),
            func.sum(tallies.c.chunks).label("chunks"),
            func.sum(tallies.c.rows).filter(lately).label("rows_lately"),
            func.sum(tallies.c.rows).filter(just_now).label("rows_just_now"),
            seconds_between(func.min(tallies.c.at).filter(lately), clock()).label("seconds"),
        )
        .where(tallies.c.run_id.in_(ids))
        .group_by(tallies.c.run_id)
    )
    return {RunId(row.run_id): row for row in connection.execute(query)}


def _rate(sums: Any) -> float:
    if not sums.rows_lately or sums.seconds is None:
        return 0.0
    # The first tally of the window stands for about a second before it.
    return float(sums.rows_lately) / max(float(sums.seconds) + 1.0, 1.0)


def _is_steady(sums: Any) -> bool:
    # What a run's first seconds say is of its beginning, and what one long chunk says, of that one.
    if sums.seconds is None or float(sums.seconds) < _STEADY_AFTER:
        return False
    if float(sums.seconds) < _SHORT_WINDOW:
        return True
    just_now = float(sums.rows_just_now or 0) / _SHORT_WINDOW
    return _rate(sums) / _STEADY_WITHIN <= just_now <= _rate(sums) * _STEADY_WITHIN


def _open_counts(
    database: Database, connection: Connection, ids: Sequence[RunId]
) -> dict[RunId, dict[str, int]]:
    # Counted in the index of chunks that are not done.
    chunks = database.schema.chunks
    shown = database.schema.open_chunks([*_GIVEN_UP, *UNFINISHED_CHUNK])
    counts: dict[RunId, dict[str, int]] = {}
    for row in connection.execute(
        select(chunks.c.run_id, chunks.c.status, func.count().label("chunks"))
        .where(chunks.c.run_id.in_(ids), shown)
        .group_by(chunks.c.run_id, chunks.c.status)
    ):
        counts.setdefault(RunId(row.run_id), {})[row.status] = int(row.chunks)
    return counts
