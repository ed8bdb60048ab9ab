"""A chunk that takes long keeps nobody from what its lane had carved ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from breakbulk.domain.status import UNFINISHED_CHUNK, ChunkStatus
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 800
#: It has come so far when a lane carves a good second's work ahead.
_SLOW = 400


def test_idle_lanes_take_over(postgres_url: str, valkey_url: str, set_stage: Stages) -> None:
    stage = set_stage(postgres_url, valkey_url, job={"chunk_size": 1})
    stage.fill(_ROWS)
    gate = stage.gate()
    stage.worker(concurrency=4)
    run = stage.submit(gate=str(gate.directory), gated=_SLOW)

    # While one lane is at that chunk, the others do all that it had carved behind it.
    undone = set(ChunkStatus) - {ChunkStatus.SUCCEEDED}
    wait_for(
        lambda: (
            run.progress().total_is_exact
            and [one.number for one in run.chunks(statuses=undone, limit=2)] == [_SLOW]
        ),
        timeout=120,
        message="all other chunks to be done",
    )
    gate.open()
    stage.until(run, RunStatus.SUCCEEDED)
    assert [name for name, _ in gate.arrived()] == [str(_SLOW)], "and nobody else has begun it"
    assert not stage.attempts(run)
    stage.judge(run, rows=_ROWS)


@pytest.mark.thorough
def test_the_last_chunks_are_shared_out(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    """A slow end in two lanes; when eight may work there, fewer chunks are left than that."""
    rows, slow_from = 2_400, 41
    stage = set_stage(
        postgres_url, valkey_url, job={"chunk_size": 50}, knobs={"carve_seconds": 0.5}
    )
    stage.fill(rows)
    gate = stage.gate()
    stage.worker(concurrency=8)
    # One of the two lanes is at a chunk that does not end, so that something is left to take over.
    job = stage.count(
        seconds=0.8, slow_from=slow_from, gate=str(gate.directory), gated=slow_from - 1
    )
    run = stage.bulk.submit(job, max_lanes=2)
    wait_for(
        lambda: (
            run.progress().total_is_exact
            and len(list(run.chunks(statuses=set(UNFINISHED_CHUNK), limit=6))) <= 5
        ),
        message="few chunks to be left",
    )
    run.limit_lanes(None)
    wait_for(
        lambda: stage.chunk_statuses(run, str(ChunkStatus.SPLIT)), message="one to be shared out"
    )
    gate.open()
    stage.until(run, RunStatus.SUCCEEDED)
    assert any("shared out chunk " in (one.detail or "") for one in run.activity())
    assert not stage.attempts(run)
    assert not stage.losses(run)
    stage.judge(run, rows=rows, split=True)
