"""Scheduled runs: Celery beat submits, ``overlap`` keeps one run at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 500


@pytest.mark.thorough
def test_two_beats_never_give_two_runs_at_the_same_time(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(
        postgres_url,
        valkey_url,
        # Ten chunks of 0.2 s: on two lanes a run takes as long as its schedule, or longer.
        job={"chunk_size": 50, "retry_delay": 0},
        knobs={"slice_seconds": 1.0},
        schedule=1.0,
    )
    stage.fill(_ROWS)
    worker = stage.worker()
    beats = [
        stage.celery("beat", "--schedule", str(stage.directory / f"beat{number}"), "--pidfile", "")
        for number in range(2)
    ]
    wait_for(
        lambda: sum(run.finished_at is not None for run in stage.bulk.runs()) >= 3,
        message="three runs to end",
    )
    for beat in beats:
        beat.terminate()
        beat.wait()
    runs = [stage.bulk.run(run.id) for run in stage.bulk.runs()]
    stage.until_succeeded(*runs)
    # A last order of a beat may still be on its way.
    wait_for(lambda: len(stage.bulk.runs()) == sum(stage.notices().values()), message="all to end")
    runs = sorted((stage.bulk.run(run.id) for run in stage.bulk.runs()), key=lambda run: run.id)
    stage.judge(*runs, rows=_ROWS)
    records = [run.record() for run in runs]
    for earlier, later in pairwise(records):
        assert earlier.finished_at is not None
        assert earlier.finished_at <= later.submitted_at
    assert "still running" in worker.log(), "at least one order came too early"
