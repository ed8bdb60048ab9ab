"""The housekeeper: runs that nobody has the code of, no broker, and who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from tests.support.waiting import wait_for
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from breakbulk import FinishedRun


@pytest.fixture
def stranger(clean_engine: Engine) -> Iterator[Yard]:
    """Another deploy of the application, without any of the jobs."""
    other = Yard(clean_engine, shared=True)
    yield other
    other.close()


def test_a_run_that_nobody_has_the_code_of_can_be_cancelled(yard: Yard, stranger: Yard) -> None:
    handle = yard.submit(yard.job())
    abroad = stranger.bulk.run(handle.id)
    assert abroad.cancel() is RunStatus.CANCELLED
    assert abroad.audit().clean
    assert yard.count("waiting") == 0


def test_a_failed_callback_waits_for_somebody_who_has_it(yard: Yard, stranger: Yard) -> None:
    told: list[str] = []

    def failed(run: FinishedRun) -> None:
        told.append(run.status)

    handle = yard.submit(yard.job(failed=failed))
    abroad = stranger.bulk.run(handle.id)
    assert abroad.cancel() is RunStatus.FINISHING
    crew = stranger.crew()
    crew.work()
    crew.tick()
    assert abroad.status() is RunStatus.FINISHING
    waits = abroad.progress().waits
    assert waits is not None
    assert waits.startswith("no worker on the queue 'celery' has the code of Job")
    yard.settle(handle)
    assert (handle.status(), told) == (RunStatus.CANCELLED, ["cancelled"])


def test_a_run_says_what_it_waits_for(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    assert handle.progress().waits == "no worker is running"
    elsewhere = yard.submit(yard.job(queue="nights"))
    yard.crew()
    assert handle.progress().waits is None
    assert elsewhere.progress().waits == "no worker consumes the queue 'nights'"
    yard.settle(handle)
    assert handle.progress().waits is None


def test_every_worker_works_for_its_queues_when_no_lane_comes(clean_engine: Engine) -> None:
    """Whether sending fails or a broker keeps the messages to itself."""
    yard = Yard(clean_engine, rows=25, shared=True, broker_patience=0.2)
    yard.submit(yard.job())
    yard.submit(yard.job(queue="nights"))
    leader, other, busy = yard.crew(), yard.crew(), yard.crew()
    busy.free = False

    def both_do() -> bool:
        for crew in (leader, other, busy):
            crew.tick()
        return bool(leader.alone and other.alone)

    wait_for(both_do, message="both to work without the broker")
    assert {*leader.alone, *other.alone} == {"celery"}, "each for the queues it consumes"
    assert busy.alone == [], "who is busy with other tasks is not without a broker"
    yard.close()


def test_nobody_works_alone_while_lanes_come(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=25, shared=True, broker_patience=0.1)
    handle = yard.submit(yard.job())
    crew = yard.crew()
    crew.tick()
    yard.lane(handle)
    started = [0]

    def twice_the_patience() -> bool:
        crew.tick()
        started[0] += 1
        return crew.steward._looked_at > 0 and started[0] > 20

    wait_for(twice_the_patience, message="the steward to look around")
    assert crew.alone == []
    yard.close()


def test_a_leader_that_shuts_down_lets_another_lead(yard: Yard) -> None:
    first, second = yard.crew(), yard.crew()
    assert (first.steward._leads, second.steward._leads) == (True, False)
    first.draining = True
    first.tick()
    assert not first.steward._leads

    def second_leads() -> bool:
        second.tick()
        return second.steward._leads

    wait_for(second_leads, timeout=3, message="the other to lead")
    first.draining = False
    first.tick()
    assert not first.steward._leads
