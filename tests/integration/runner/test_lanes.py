"""How many lanes a run gets, and how often it is asked for them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.errors import ParameterError, StateError
from breakbulk.ledger.sql import clock
from breakbulk.runner.hand import Slice
from breakbulk.runner.lane import LaneWork
from tests.support.yard import Goods, Yard, together, touch, wipe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from breakbulk import Chunk, RunHandle

_SURPLUS = 1


def wanted(yard: Yard, handle: RunHandle) -> tuple[int, int]:
    """The lanes that a run may have now, and those it has."""
    with yard.reading() as connection:
        slots = yard.ledger.workers.slots(connection)
        demands = yard.ledger.lanes.demand(connection, slots)
    (found,) = (one for one in demands if one.run_id == handle.id)
    return found.wanted, found.present


@pytest.mark.parametrize(("max_lanes", "lanes"), [(None, 5), (2, 2), (9, 5)])
def test_as_many_as_there_are_slots_or_as_the_job_may_have(
    yard: Yard, max_lanes: int | None, lanes: int
) -> None:
    handle = yard.submit(yard.job(max_lanes=max_lanes))
    assert wanted(yard, handle) == (1, 0), "one, for nobody is known yet"
    yard.crew(slots=3)
    yard.crew(slots=2)
    assert wanted(yard, handle) == (lanes, 0)
    yard.lane(handle)
    assert wanted(yard, handle) == (lanes, 1)


def test_who_holds_more_than_one_chunk_may_be_helped(yard: Yard) -> None:
    """Once nothing is left to carve, and it is known that it does not get done with it at once."""
    handle = yard.submit(yard.job(max_retries=0))
    yard.crew(slots=9)
    lane = yard.lane(handle)
    bounds = [Bounds(None, (10,)), Bounds((10,), (20,)), Bounds((20,), (25,))]
    with yard.transaction() as connection:
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        yard.ledger.claims.carve(
            connection,
            handle.id,
            frontier,
            [Cut(one, 10) for one in bounds],
            lane=0,
            owner=uuid4(),
            exhausts=True,
        )
        slots = yard.ledger.workers.slots(connection)
        assert yard.ledger.lanes.demand(connection, slots) == []
        carves = yard.ledger.database.schema.carves
        connection.execute(update(carves).values(exhausted_at=clock(-2)))
    assert wanted(yard, handle) == (3, 1), "one for each chunk"
    yard.lane(handle, 1)
    assert wanted(yard, handle) == (3, 2)


def test_those_who_shut_down_are_not_counted(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    yard.crew()
    leaving = yard.crew(slots=4)
    assert wanted(yard, handle) == (5, 0)
    leaving.draining = True
    leaving.tick()
    assert wanted(yard, handle) == (1, 0)


def test_only_as_many_come_in_as_there_are_places(postgres_yard: Yard) -> None:
    """Messages are doubled and late; what they find is what counts."""
    yard = postgres_yard
    left_again = threading.Semaphore(0)

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number <= 2:
            # Whoever found no place has gone; one more in here, and this would be in vain.
            for _ in range(2 - chunk.number + 1):
                assert left_again.acquire(timeout=30), "too many came in"

    handle = yard.submit(yard.job(process, max_lanes=2))
    crew = yard.crew(slots=5)

    def come() -> bool:
        again = crew.work()
        left_again.release()
        return again

    together(*[come] * 5)
    yard.settle(handle)
    yard.assert_proper(handle)
    assert not yard.rows_of("failures")


def test_when_workers_join_more_are_asked_for(yard: Yard) -> None:
    job = yard.job()
    leader = yard.crew()
    handle = yard.submit(job)
    leader.tick()
    assert leader.sent == [("celery", 1 + _SURPLUS)]
    yard.lane(handle)
    for _ in range(20):
        leader.tick()
    assert leader.sent == [("celery", 1 + _SURPLUS)], "nothing is missing"
    yard.crew(slots=3)
    leader.tick()
    assert leader.sent[1:] == [("celery", 3 + _SURPLUS)], "three more places"


def test_nobody_is_asked_again_and_again(yard: Yard) -> None:
    job = yard.job()
    leader = yard.crew(slots=2)
    yard.submit(job)
    for _ in range(20):
        leader.tick()
        if len(leader.sent) > 1:
            break
    first, *others = leader.sent
    assert first == ("celery", 2 + _SURPLUS)
    # A slow machine may take longer for twenty looks than the first pause lasts.
    assert len(others) <= 1


def test_more_lanes_and_fewer_while_a_run_goes_on(yard: Yard) -> None:
    handle = yard.submit(yard.job(max_lanes=1))
    yard.lane(handle)
    yard.crew(slots=6)
    handle.limit_lanes(None, by="ana")
    assert wanted(yard, handle) == (7, 1)
    handle.limit_lanes(2, by="ana")
    assert wanted(yard, handle) == (2, 1)
    yard.lane(handle, 1)
    yard.first_crew.tick()
    before = len(yard.first_crew.sent)
    handle.limit_lanes(4, by="ben")
    yard.first_crew.tick()
    assert yard.first_crew.sent[before:] == [("celery", 2 + _SURPLUS)], "asked for at once"
    assert wanted(yard, handle) == (4, 2)
    handle.limit_lanes(4, by="ben")
    told = [one for one in reversed(handle.activity()) if one.verb == "lanes"]
    assert [(one.actor, one.verb, one.detail) for one in told] == [
        ("ana", "lanes", "as many as there are slots, before: at most 1"),
        ("ana", "lanes", "at most 2, before: as many as there are slots"),
        ("ben", "lanes", "at most 4, before: at most 2"),
    ]


def test_a_lane_too_many_ends_after_the_chunk_in_hand(postgres_ground: Engine) -> None:
    """Though it holds more; and what it held is done by those that stay."""
    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=25, shared=True, carve_seconds=600, slice_seconds=600)
    held: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 3 and not held:
            held.append(len(yard.rows_of("chunks", "status = 'carved'")))
            handle.limit_lanes(1)

    job = yard.job(process, chunk_size=1)
    crew = yard.crew(slots=2)
    handle = yard.submit(job)
    # Somebody has the first place, so this one gets the second.
    first = yard.lane(handle)
    crew.work()
    assert held[0] > 1
    assert sum(yard.versions().values()) == 3
    assert [lane["token"] for lane in yard.rows_of("lanes")] == [first.token]
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, first.token)
    yard.settle(handle)
    yard.assert_proper(handle)
    yard.close()


def test_a_lane_too_many_carves_and_claims_nothing(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    yard.crew(slots=2)
    stays, leaves = yard.lane(handle, 0), yard.lane(handle, 1)
    handle.limit_lanes(1)
    with yard.reading() as connection:
        may = [
            yard.ledger.claims.may_work(connection, handle.id, lane.token)
            for lane in (stays, leaves)
        ]
    assert may == [True, False]


@pytest.mark.parametrize("lanes", [0, -1, 1_000_000])
def test_what_is_no_number_of_lanes(yard: Yard, lanes: int) -> None:
    handle = yard.submit(yard.job())
    with pytest.raises(ParameterError, match="from 1 to"):
        handle.limit_lanes(lanes)
    assert handle.record().max_lanes is None


def test_what_has_ended_has_no_lanes(yard: Yard) -> None:
    handle = yard.run()
    with pytest.raises(StateError, match="has ended"):
        handle.limit_lanes(2)


def test_who_has_left_and_was_not_told_leaves_no_more(yard: Yard) -> None:
    """The answer to the COMMIT was lost: what was done in it counts once."""
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    piece = Slice(time.monotonic() + 60, yard.first_crew.process)
    stay = LaneWork(yard.runtime, lane, handle.record(), piece)
    stay._tally.count(10, written=False)
    with yard.runtime.database.connect() as connection:
        stay.sign_off(connection)
        # As it stands where the answer was never heard.
        stay._tally.count(10, written=False)
        stay.sign_off(connection)
    with yard.reading() as connection:
        tallies = yard.runtime.database.schema.tallies
        written = connection.execute(select(tallies.c.rows)).scalars().all()
    assert written == [10]
