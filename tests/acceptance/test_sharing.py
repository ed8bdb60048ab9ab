"""Runs that are not alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000
_JOB = {"chunk_size": 25, "retry_delay": 0}


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
