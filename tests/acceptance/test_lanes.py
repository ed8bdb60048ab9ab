"""More lanes and fewer, while real workers are at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

#: More than they can do before it is cancelled, however slow the command line is.
_ROWS = 20_000
_JOB = {"chunk_size": 10, "retry_delay": 0}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)])
def test_lanes_up_and_down(
    request: pytest.FixtureRequest, valkey_url: str, set_stage: Stages, kind: str
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    # Nobody leaves because the slice is over.
    stage = set_stage(url, valkey_url, job=_JOB, knobs={"slice_seconds": 600.0})
    stage.fill(_ROWS)
    stage.worker(concurrency=4)
    run = stage.submit(seconds=0.1)
    wait_for(lambda: stage.lanes() == 4, message="a lane in every slot")
    stage.breakbulk("lanes", str(run.id), "1")
    wait_for(lambda: stage.lanes() == 1, message="all but one lane to leave")
    stage.breakbulk("lanes", str(run.id), "3")
    wait_for(lambda: stage.lanes() == 3, message="two more lanes")
    stage.breakbulk("lanes", str(run.id), "all")
    wait_for(lambda: stage.lanes() == 4, message="a lane in every slot again")
    run.cancel()
    stage.until(run, RunStatus.CANCELLED)
    assert not stage.attempts(run), "nobody lost a try by it"
    verbs = [one.verb for one in run.activity() if one.verb == "lanes"]
    assert len(verbs) == 3
