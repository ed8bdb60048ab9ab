"""Every ledger, broker and pool that is promised, each at least once."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.brokers import type_of_queue

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000
#: Each database with each broker and each pool; with each broker two pools of the three.
_EVERY_TIME = {
    ("postgres", "valkey", False, "solo"),
    ("postgres", "redis", False, "threads"),
    ("postgres", "amqp", False, "prefork"),
    ("postgres", "amqp", True, "prefork"),
    ("sqlite", "valkey", False, "prefork"),
    ("sqlite", "redis", False, "solo"),
    ("sqlite", "amqp", False, "threads"),
    ("sqlite", "amqp", True, "solo"),
}


def _combinations() -> list[Any]:
    found = []
    kinds = [("valkey", False), ("redis", False), ("amqp", False), ("amqp", True)]
    for database, kind, pool in product(
        ("postgres", "sqlite"), kinds, ("prefork", "threads", "solo")
    ):
        combination = (database, *kind, pool)
        marks = [] if combination in _EVERY_TIME else [pytest.mark.thorough]
        found.append(pytest.param(*combination, marks=marks))
    return found


@pytest.mark.parametrize(("database", "broker", "quorum", "pool"), _combinations())
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
    if broker == "amqp":
        kind = "quorum" if quorum else "classic"
        assert type_of_queue(stage.config.broker, stage.config.queue) == kind
    run = stage.submit()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
