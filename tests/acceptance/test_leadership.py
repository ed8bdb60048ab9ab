"""Who leads when the leader is gone: at once, not after another third of a lease."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from breakbulk.ledger.workers import Worker
from breakbulk.runner.steward import Steward
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stage import Stage
    from tests.support.stages import Stages


def _steward(stage: Stage, number: int) -> Steward:
    worker = Worker(
        id=uuid4(),
        host="here",
        pid=number,
        slots=1,
        pool="solo",
        queues=(stage.config.queue,),
        jobs=(),
        version="",
    )
    return Steward(
        stage.bulk.runtime,
        lambda: worker,
        alive=lambda _lane: True,
        send=lambda _queue, _count, _good_until: True,
        free=lambda: True,
        work_without_broker=lambda _queue: None,
    )


def test_the_next_leader_does_not_wait_for_its_own_lease(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    # A third of it is more than anybody waits for here.
    stage = set_stage(postgres_url, valkey_url, knobs={"lease_seconds": 600.0})
    database = stage.bulk.runtime.database
    leader, other = _steward(stage, 1), _steward(stage, 2)
    table = database.schema.leader

    def leads(steward: Steward) -> bool:
        with database.connect() as connection:
            steward.tick(connection)
        return steward._leads

    assert leads(leader)
    assert not leads(other)
    with stage.engine.begin() as connection:
        # The leader died a lease ago.
        connection.exec_driver_sql(
            f"UPDATE {table.fullname} SET lease_until = lease_until - interval '1 hour'"
        )
    wait_for(lambda: leads(other), message="the other to lead")
