"""How far runs are: any number of them in a few statements, whatever chunks they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, UNFINISHED_CHUNK, ChunkStatus, RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between
from breakbulk.ledger.workers import Worker, Workers

#: The rate is that of the last seconds: long enough to be steady, short enough to be true.
RATE_WINDOW = 10.0
_NEEDS_LANES = frozenset({RunStatus.LOADING, RunStatus.RUNNING, RunStatus.FINISHING})


def progress_of(
    database: Database, connection: Connection, runs: Sequence[Run]
) -> dict[RunId, Progress]:
    """How far each of these runs is.

    Rows and chunks done are the tallies' sums while a run goes on and the exact count once it has
    ended. The total is read off the last chunk, which knows all rows up to itself.
    """
    if not runs:
        return {}
    ids = [run.id for run in runs]
    places = _places(database, connection, ids)
    sums = _sums(database, connection, ids)
    counts = _open_counts(database, connection, ids)
    waits = _Waits(database, connection)
    return {
        run.id: _progress(run, places[run.id], sums.get(run.id), counts.get(run.id, {}), waits)
        for run in runs
    }


def _progress(
    run: Run, place: Any, sums: Any | None, counts: dict[str, int], waits: _Waits
) -> Progress:
    carved = int(place.rows_upto or 0)
    total = carved if place.exhausted else max(run.rows_estimate or 0, carved) or None
    rows_done = int(sums.rows) if sums is not None else 0
    chunks_done = int(sums.chunks) if sums is not None else 0
    if run.status in FINISHED and run.summary is not None:
        rows_done, chunks_done = run.summary.rows_done, run.summary.chunks_done
    lanes = int(place.lanes)
    return Progress(
        status=run.status,
        reason=run.reason,
        rows_done=rows_done if total is None else min(rows_done, total),
        rows_total=total,
        total_is_exact=bool(place.exhausted),
        chunks_done=chunks_done,
        chunks_carved=int(place.number or 0),
        chunks_failed=counts.get(str(ChunkStatus.FAILED), 0),
        chunks_waiting=counts.get(str(ChunkStatus.WAITING), 0),
        lanes=lanes,
        waits=waits.of(run, lanes),
        rate=0.0 if run.status in FINISHED or sums is None else _rate(sums),
        elapsed=float(place.elapsed),
    )


def _places(database: Database, connection: Connection, ids: Sequence[RunId]) -> dict[RunId, Any]:
    """How far each run is carved, for how long it has gone on, and its lanes."""
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
            seconds_between(runs.c.submitted_at, func.coalesce(runs.c.finished_at, clock())).label(
                "elapsed"
            ),
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
    query = (
        select(
            tallies.c.run_id,
            func.sum(tallies.c.rows).label("rows"),
            func.sum(tallies.c.chunks).label("chunks"),
            func.sum(tallies.c.rows).filter(lately).label("rows_lately"),
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


def _open_counts(
    database: Database, connection: Connection, ids: Sequence[RunId]
) -> dict[RunId, dict[str, int]]:
    # Counted in the index of chunks that are not done.
    chunks = database.schema.chunks
    shown = database.schema.open_chunks([ChunkStatus.FAILED, *UNFINISHED_CHUNK])
    counts: dict[RunId, dict[str, int]] = {}
    for row in connection.execute(
        select(chunks.c.run_id, chunks.c.status, func.count().label("chunks"))
        .where(chunks.c.run_id.in_(ids), shown)
        .group_by(chunks.c.run_id, chunks.c.status)
    ):
        counts.setdefault(RunId(row.run_id), {})[row.status] = int(row.chunks)
    return counts


class _Waits:
    """What runs wait for on which nobody works; who lives is asked once, and only if need be."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._workers: list[Worker] | None = None

    def of(self, run: Run, lanes: int) -> str | None:
        """What a run waits for that has so many lanes; None if somebody works on it."""
        frozen = None if run.status in FINISHED else self._database.frozen_writer()
        if frozen is not None:
            return f"process {frozen}, which is stopped, holds SQLite's only writer"
        if lanes or run.status not in _NEEDS_LANES:
            return None
        workers = self._live()
        consumers = [one for one in workers if run.queue in one.queues]
        if any(run.job in one.jobs for one in consumers):
            return None
        if consumers:
            return f"no worker on the queue {run.queue!r} has the code of {run.job}"
        return f"no worker consumes the queue {run.queue!r}" if workers else "no worker is running"

    def _live(self) -> list[Worker]:
        if self._workers is None:
            live = Workers(self._database).live(self._connection)
            self._workers = [one for one in live if not one.draining]
        return self._workers
