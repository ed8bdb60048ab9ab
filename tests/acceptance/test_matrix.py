"""Every ledger, broker and pool that is promised, each at least once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000


@pytest.mark.parametrize(
    ("database", "broker", "quorum", "pool"),
    [
        ("postgres", "valkey", False, "prefork"),
        ("sqlite", "valkey", False, "prefork"),
        ("postgres", "valkey", False, "solo"),
        ("postgres", "redis", False, "threads"),
        ("sqlite", "redis", False, "solo"),
        ("postgres", "amqp", False, "prefork"),
        ("sqlite", "amqp", False, "threads"),
        ("postgres", "amqp", True, "prefork"),
        ("sqlite", "amqp", True, "prefork"),
        ("postgres", "amqp", True, "solo"),
    ],
)
def test_a_run_succeeds(
    request: pytest.FixtureRequest,
    broker_named: Any,
    set_stage: Stages,
    database: str,
    broker: str,
    pool: str,
    *,
    quorum: bool,
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    stage = set_stage(
        url,
        broker_named(broker),
        celery={"task_default_queue_type": "quorum"} if quorum else {},
        job={"chunk_size": 50},
    )
    stage.fill(_ROWS)
    stage.worker(pool=pool)
    run = stage.submit()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
