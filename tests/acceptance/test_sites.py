"""Several machines: the work spreads over those that are there, whoever comes and goes."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import and_, func, select

from breakbulk.ledger.sql import clock
from tests.chaos.faults.brokers import CELERY
from tests.chaos.faults.databases import STEWARD
from tests.support.sites import site
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from breakbulk import RunHandle
    from tests.support.stage import Stage
    from tests.support.stages import Stages
    from tests.support.workers import Worker

#: A chunk's own work: it waits, so that three nodes are no more than two cores can bear.
_SECONDS = 0.05
_CHUNK_SIZE = 10
_CHUNKS = 2_000
#: Chunks that are done while a share is measured, and how often one is: some seconds, for a busy
#: machine may stop anybody for some tenths of one.
_MEASURED = 150
_TIMES = 3
#: Seconds that a run may take on a machine that has other things to do.
_PATIENCE = 600.0


@pytest.mark.thorough
def test_nodes_come_and_go(
    valkey_url: str, set_stage: Stages, tmp_path: Path, record_property: Any
) -> None:
    with site(3, valkey_url, tmp_path) as made:
        stage = set_stage(
            made.database,
            valkey_url,
            job={"chunk_size": _CHUNK_SIZE, "retry_delay": 0},
            # A lane keeps its number while shares are measured: by it a chunk's node is known.
            knobs={"lease_seconds": 2.0, "slice_seconds": 600.0},
        )
        stage.fill(_CHUNKS * _CHUNK_SIZE)
        first, second, third = made.nodes
        workers = [stage.worker(concurrency=1, **node.options) for node in (first, second)]
        run = stage.submit(seconds=_SECONDS)
        _until_at_work(stage, run, workers)

        # One more comes in the middle of the run.
        workers.append(stage.worker(concurrency=1, **third.options))
        _until_at_work(stage, run, workers)
        shares = [_share(stage, run, workers) for _ in range(_TIMES)]
        uneven = [_uneven(share) for share in shares]
        record_property("nodes", f"rows of three nodes: {shares}")
        assert median(uneven) <= 0.1, f"rows of each node: {shares}"

        # One is cut off: the others have its chunk, and go on without it.
        second.cut()
        wait_for(
            lambda: len(_nodes(stage, run)) == 2 and workers[1].pid not in _nodes(stage, run),
            message="the lost node's lane to be taken from it",
        )
        done = len(stage.chunk_statuses(run, "succeeded"))
        stage.until_done(run, done + 10)

        # And it is welcome again.
        second.mend()
        _until_at_work(stage, run, workers)
        _share(stage, run, workers)
        stage.until_succeeded(run)
        stage.judge(run, rows=_CHUNKS * _CHUNK_SIZE, complaints=[STEWARD, *CELERY])
        assert not stage.attempts(run), "a lost node costs no attempt"
        stage.finish()


@pytest.mark.thorough
def test_rows_are_spread_evenly_while_lanes_change_hands(
    valkey_url: str, set_stage: Stages, tmp_path: Path, record_property: Any
) -> None:
    """Slices are as long as they are by default: a node's lane is another one every few seconds."""
    with site(3, valkey_url, tmp_path) as made:
        stage = set_stage(made.database, valkey_url, job={"chunk_size": _CHUNK_SIZE})
        stage.fill(_CHUNKS * _CHUNK_SIZE)
        workers = [stage.worker(concurrency=1, **node.options) for node in made.nodes]
        runs, shares = [], []
        for _ in range(_TIMES):
            runs.append(stage.submit(seconds=_SECONDS))
            _until_at_work(stage, runs[-1], workers)
            since = _now(stage)
            stage.until_succeeded(runs[-1], timeout=_PATIENCE)
            shares.append(_whole_share(stage, runs[-1], workers, since))
        record_property("nodes", f"rows of three nodes over three runs: {shares}")
        assert all(sum(share) > _CHUNKS * _CHUNK_SIZE / 2 for share in shares), shares
        assert median(_uneven(share) for share in shares) <= 0.1, f"rows of each node: {shares}"
        stage.judge(*runs, rows=_CHUNKS * _CHUNK_SIZE)
        assert not any(stage.attempts(run) for run in runs)
        stage.finish()


def _uneven(share: list[int]) -> float:
    """How far the busiest is from an even share, or whoever did least."""
    return max(abs(rows * len(share) / sum(share) - 1) for rows in share)


def _nodes(stage: Stage, run: RunHandle) -> dict[int, int]:
    """The number of the lane that each worker has, by its main process."""
    schema = stage.bulk.runtime.database.schema
    query = (
        select(schema.workers.c.pid, schema.lanes.c.number)
        .join(schema.lanes, schema.lanes.c.worker_id == schema.workers.c.id)
        .where(schema.lanes.c.run_id == run.id)
    )
    with stage.engine.connect() as connection:
        return {row.pid: row.number for row in connection.execute(query)}


def _until_at_work(stage: Stage, run: RunHandle, workers: list[Worker]) -> None:
    """Wait until each of them has a lane, and has done something in it."""
    wait_for(
        lambda: _nodes(stage, run).keys() == {worker.pid for worker in workers},
        message="every node to be at work",
        timeout=60,
    )
    since = _now(stage)
    wait_for(
        lambda: len(_rows(stage, run, since)) == len(workers),
        message="every node to have done a chunk",
    )


def _share(stage: Stage, run: RunHandle, workers: list[Worker]) -> list[int]:
    """How many rows each of them does while so many chunks are done."""
    since, before = _now(stage), _nodes(stage, run)
    done = len(stage.chunk_statuses(run, "succeeded"))
    stage.until_done(run, done + _MEASURED)
    rows = _rows(stage, run, since)
    assert _nodes(stage, run) == before, "a lane has changed hands: the share means nothing"
    return [rows[before[worker.pid]] for worker in workers]


def _whole_share(stage: Stage, run: RunHandle, workers: list[Worker], since: datetime) -> list[int]:
    """How many rows each of them did from then on, as long as there were any to be carved.

    A lane's number says nothing here: who had it at the time is told by the lanes' stays.
    """
    wait_for(lambda: not stage.lanes(), message="the last lane to leave")
    schema = stage.bulk.runtime.database.schema
    chunks, stays, carves = schema.chunks, schema.stays, schema.carves
    exhausted = select(carves.c.exhausted_at).where(carves.c.run_id == run.id).scalar_subquery()
    query = (
        select(stays.c.pid, func.sum(chunks.c.rows), func.count(stays.c.id.distinct()))
        .join_from(
            chunks,
            stays,
            and_(
                stays.c.run_id == chunks.c.run_id,
                stays.c.lane == chunks.c.lane,
                chunks.c.ended_at.between(stays.c.started_at, stays.c.ended_at),
            ),
        )
        .where(chunks.c.run_id == run.id, chunks.c.ended_at.between(since, exhausted))
        .group_by(stays.c.pid)
    )
    with stage.engine.connect() as connection:
        found = connection.execute(query).all()
    assert all(came > 1 for _, _, came in found), "no lane has changed hands"
    rows = {pid: int(count) for pid, count, _ in found}
    return [sum(rows.get(child.pid, 0) for child in worker.children()) for worker in workers]


def _now(stage: Stage) -> datetime:
    with stage.engine.connect() as connection:
        now: datetime = connection.execute(select(clock())).scalar_one()
        return now


def _rows(stage: Stage, run: RunHandle, since: datetime) -> Counter[int]:
    """Rows done from that moment on, by the number of the lane."""
    chunks = stage.bulk.runtime.database.schema.chunks
    query = (
        select(chunks.c.lane, func.sum(chunks.c.rows))
        .where(chunks.c.run_id == run.id, chunks.c.ended_at >= since)
        .group_by(chunks.c.lane)
    )
    with stage.engine.connect() as connection:
        return Counter({lane: int(rows) for lane, rows in connection.execute(query)})
