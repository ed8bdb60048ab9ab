"""Runs that hold back and go on by themselves, with real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine, text

from breakbulk import RunStatus
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

#: More than they can do before the limit is lifted, however slow whoever lifts it is.
_ROWS = 20_000
_JOB = {"chunk_size": 10, "retry_delay": 0, "throttle_on": "SELECT name FROM flags"}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)])
def test_it_holds_back_lets_its_slots_go_and_goes_on(
    request: pytest.FixtureRequest, valkey_url: str, set_stage: Stages, kind: str
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    knobs = {"throttle_seconds": 0.3, "slice_seconds": 600.0}
    stage = set_stage(url, valkey_url, job=_JOB, knobs=knobs)
    stage.fill(_ROWS)
    engine = create_engine(url, poolclass=NullPool)

    def flag(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    flag("CREATE TABLE flags (name text)")
    flag("INSERT INTO flags VALUES ('the month is being closed')")
    stage.worker(concurrency=2)
    run = stage.submit(seconds=0.05)
    wait_for(lambda: "closed" in str(run.progress().throttled), message="the run to be looked at")
    assert run.progress().rows_done == 0
    flag("DELETE FROM flags")
    wait_for(lambda: stage.lanes() == 2, message="lanes to come by themselves")
    flag("INSERT INTO flags VALUES ('again')")
    wait_for(lambda: stage.lanes() == 0, message="the lanes to leave")
    seen = run.progress()
    assert str(seen.throttled).startswith("its check says: again; since ")
    assert seen.status is RunStatus.RUNNING
    # Whoever knows better; and now it does not come back with half its lanes only.
    stage.breakbulk("limit", str(run.id), "--throttle-on", "none")
    wait_for(lambda: stage.lanes() == 2, message="all lanes to come")
    run.cancel()
    stage.until(run, RunStatus.CANCELLED)
    verbs = [one.verb for one in reversed(run.activity()) if "throttled" in one.verb]
    assert verbs == ["throttled", "unthrottled", "throttled"]
    assert not stage.attempts(run), "nobody lost a try by it"
