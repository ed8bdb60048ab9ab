"""Chunks that write first and take longer than any lease, on SQLite, where one writes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_LEASE = 2.0
_CHUNKS = 4
_ROWS = 40


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("pool", "seconds"),
    [
        ("prefork", 1.5 * _LEASE),
        pytest.param("threads", 1.5 * _LEASE, marks=pytest.mark.thorough),
        pytest.param("prefork", 40.0, marks=pytest.mark.thorough),
    ],
)
def test_nobody_is_taken_for_dead(
    sqlite_url: str, valkey_url: str, set_stage: Stages, pool: str, seconds: float
) -> None:
    stage = set_stage(
        sqlite_url,
        valkey_url,
        job={"chunk_size": _ROWS // _CHUNKS, "retry_delay": 0},
        knobs={"lease_seconds": _LEASE, "slice_seconds": 1.0},
    )
    stage.fill(_ROWS)
    worker = stage.worker(pool=pool, concurrency=4)
    run = stage.submit(seconds=seconds)
    # A lane claims what it works on before its turn to write comes.
    wait_for(lambda: stage.lanes() == _CHUNKS, message="all lanes to be at work")
    # Operators wait for their turn, too, and get it.
    other = stage.submit(label="meanwhile", seconds=0.01)
    assert run.pause() in {RunStatus.PAUSING, RunStatus.PAUSED}
    assert run.resume() is RunStatus.RUNNING
    stage.until_succeeded(run, other, timeout=_CHUNKS * seconds + 60)
    stage.judge(run, other, rows=_ROWS)
    assert not stage.attempts(run)
    assert not stage.losses(run)
    assert not run.failures()
    for trouble in ("rescued", "locked", "interrupted", "not heard from"):
        assert trouble not in worker.log()
