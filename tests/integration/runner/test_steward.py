"""The housekeeper: runs that nobody has the code of, no broker, and who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import update

from breakbulk import RunStatus
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.errors import StateError
from breakbulk.ledger.sql import clock
from breakbulk.runner.liveness import Leases
from breakbulk.runner.runtime import live_lanes
from tests.support.waiting import wait_for
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from breakbulk import FinishedRun, RunHandle
    from breakbulk.ledger.lanes import Lane


def claims(yard: Yard, handle: RunHandle, lane: Lane) -> None:
    """Put the first chunk into a lane's hands."""
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        cut = Cut(Bounds(None, (10,)), 10)
        yard.ledger.claims.carve(
            connection,
            handle.id,
            frontier,
            [cut],
            lane=lane.number,
            owner=uuid4(),
            exhausts=False,
        )


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
    why = "its failed() is still to be called, and no worker on the queue 'celery' has the code of"
    assert waits.startswith(why)
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


def test_a_run_whose_workers_are_stuck_says_so(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    yard.crew(slots=0)
    assert (
        handle.progress().waits
        == "every slot of its workers is stuck in a chunk that took too long"
    )
    yard.crew()
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
    # On a slow machine its patience may have been over before.
    crew.alone.clear()
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

    wait_for(second_leads, message="the other to lead")
    first.draining = False
    first.tick()
    assert not first.steward._leads


def test_a_chunk_that_takes_too_long_is_taken_away(yard: Yard) -> None:
    handle = yard.submit(yard.job(max_retries=1, chunk_timeout=7))
    crew = yard.crew()
    lane = yard.lane(handle)
    claims(yard, handle, lane)
    crew.overdue = {lane.token}
    crew.tick()
    assert crew.ended == [lane.token]
    (failure,) = handle.failures()
    assert (failure.error, failure.attempt) == ("ChunkTimeout", 1)
    assert failure.message == "took longer than chunk_timeout=7 s"
    crew.overdue = set()
    live_lanes.remove(lane.token)
    yard.settle(handle)
    yard.assert_proper(handle)


def test_who_was_ended_for_being_late_has_not_just_died(yard: Yard) -> None:
    """The watch ends processes while the steward waits for the database."""
    handle = yard.submit(yard.job(max_retries=1, chunk_timeout=7))
    crew = yard.crew()
    lane = yard.lane(handle)
    claims(yard, handle, lane)
    crew.overdue = {lane.token}
    live_lanes.remove(lane.token)
    crew.tick()
    (failure,) = handle.failures()
    assert failure.error == "ChunkTimeout"
    yard.settle(handle)
    yard.assert_proper(handle)


def test_force_takes_the_chunk_in_hand(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    crew = yard.crew()
    lane = yard.lane(handle)
    claims(yard, handle, lane)
    assert handle.cancel() is RunStatus.CANCELLING
    crew.tick()
    assert handle.status() is RunStatus.CANCELLING, "the chunk in hand is waited for"
    assert handle.cancel(force=True) is RunStatus.CANCELLING
    crew.tick()
    assert crew.ended == [lane.token]
    assert handle.status() is RunStatus.CANCELLED
    assert handle.failures() == []
    assert handle.audit().clean
    live_lanes.remove(lane.token)


def test_force_comes_too_late_for_a_run_that_has_ended(yard: Yard) -> None:
    handle = yard.run()
    with pytest.raises(StateError, match="has ended"):
        handle.cancel(force=True)
    assert handle.status() is RunStatus.SUCCEEDED
    assert "forced" not in {one.verb for one in handle.activity()}


@pytest.mark.parametrize(("losses", "patience"), [(0, 1), (1, 2), (3, 8), (60, 64)])
def test_postgres_a_chunk_that_was_lost_before_gives_its_worker_more_time(
    postgres_yard: Yard, losses: int, patience: int
) -> None:
    """C code that holds the interpreter's lock silences a worker: not time and again."""
    yard = postgres_yard
    lease = yard.runtime.settings.lease_seconds
    judge = yard.crew()
    handle = yard.submit(yard.job())
    silent = yard.crew()
    lane = yard.lane(handle, crew=silent)
    claims(yard, handle, lane)
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(update(schema.chunks).values(losses=losses))
        long_ago = clock(-100 * lease)
        connection.execute(
            update(schema.workers)
            .where(schema.workers.c.id == judge.process.worker_id)
            .values(healthy_since=long_ago)
        )
    leases = Leases(yard.runtime)
    worker = judge.steward._describe()

    def dead(after: float) -> bool:
        with yard.runtime.database.connect() as connection:
            with yard.runtime.database.transaction(connection):
                connection.execute(
                    update(schema.workers)
                    .where(schema.workers.c.id == silent.process.worker_id)
                    .values(lease_until=clock(lease - after))
                )
            return bool(leases.dead(connection, worker))

    assert not dead(lease * patience - 1)
    assert dead(lease * patience + 1)
    live_lanes.remove(lane.token)
