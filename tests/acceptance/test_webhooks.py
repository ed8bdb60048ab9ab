"""Events reach the outside from real workers, whatever dies on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.receiver import receiver
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_JOB = {"chunk_size": 50, "retry_delay": 0}
_KNOBS = {"webhook_allow": "127.0.0.1"}


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_run_is_told_of(
    request: pytest.FixtureRequest, valkey_url: str, set_stage: Stages, database: str, pool: str
) -> None:
    stage = set_stage(
        request.getfixturevalue(f"{database}_url"), valkey_url, job=_JOB, knobs=_KNOBS
    )
    stage.fill(200)
    with receiver() as outside:
        registered = stage.bulk.webhooks.add(outside.url)
        stage.worker(pool=pool, concurrency=1 if pool == "solo" else 2)
        run = stage.submit()
        stage.until_succeeded(run)
        wait_for(lambda: len(outside.received) >= 2, message="two events to arrive")
        told = [one.verified(registered.secret) for one in outside.received]
        stage.judge(run, rows=200)
    assert [one["type"] for one in told] == ["run.submitted", "run.succeeded"]
    assert told[1]["data"]["run"] == run.id
    assert told[1]["data"]["summary"]["rows_done"] == 200
