"""How many lanes a run gets, and how often it is asked for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.yard import Goods, Yard, together, touch

if TYPE_CHECKING:
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
