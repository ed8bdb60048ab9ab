"""A chunk that takes long keeps nobody from what its lane had carved ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakbulk import RunStatus
from breakbulk.domain.status import ChunkStatus
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
