"""Workers that are not all alike, and runs that are not alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000
_JOB = {"chunk_size": 25, "retry_delay": 0}


def test_a_worker_that_does_not_know_the_job(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url, job=_JOB, knobs={"slice_seconds": 1.0})
    stage.fill(_ROWS)
    # It comes first, so it leads, and asks for lanes that it cannot be itself.
    ignorant = stage.worker(forgets=["Count", "CountParcels"])
    run = stage.submit(seconds=0.05)
    wait_for(lambda: "breakbulk.lane" in ignorant.log(), message="a lane to come to it")
    stage.worker()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)


def test_two_runs_share_the_workers_fairly(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url, job=_JOB, knobs={"slice_seconds": 1.0})
    stage.fill(_ROWS)
    stage.worker()
    early = stage.submit(label="early", seconds=0.1)
    stage.until_done(early, 1)
    late = stage.submit(label="late", seconds=0.1)
    stage.until_succeeded(early)
    chunks = _ROWS // 25
    # Two slots, so the early run is ahead by one slice of both at most.
    done = len(stage.chunk_statuses(late, "succeeded"))
    stage.until_succeeded(late)
    stage.judge(early, late, rows=_ROWS)
    assert done >= chunks // 3, f"the late run had done {done} of {chunks} chunks"
