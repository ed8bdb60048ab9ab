"""A lane's place in a run: taken when it is needed, asked for again when nobody comes."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from breakbulk.runner import steward as stewards
from breakbulk.runner.runtime import live_lanes
from breakbulk.runner.work import work
from tests.support.yard import touch

if TYPE_CHECKING:
    from breakbulk import Chunk
    from tests.support.yard import Crew, Goods, Yard


def done(yard: Yard) -> set[int]:
    return set(yard.versions().values())


def test_a_message_too_many_ends_at_once(yard: Yard) -> None:
    """Doubled, or sent because another one seemed lost."""
    handle = yard.submit(yard.job())
    crew = yard.crew(slots=2)
    lanes = [yard.lane(handle, number) for number in range(2)]
    assert not crew.work()
    assert done(yard) == {0}
    assert yard.count("lanes") == 2
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lanes[0].token)
    crew.work()
    assert done(yard) == {1}, "there is a place for it now"


def test_a_run_gets_no_more_lanes_than_it_wants(yard: Yard) -> None:
    handle = yard.submit(yard.job(max_lanes=1))
    crew = yard.crew(slots=8)
    yard.lane(handle)
    assert not crew.work()
    assert done(yard) == {0}


def test_a_late_message_is_used_only_where_no_lane_is(yard: Yard) -> None:
    """What was sent in vain must not work through the team's own queue later."""
    handle = yard.submit(yard.job())
    crew = yard.crew(slots=2)
    lane = yard.lane(handle)
    late = handle.record().submitted_at - timedelta(seconds=1)

    def come() -> bool:
        return work(yard.runtime, crew.process, "celery", 20, good_until=late)

    assert not come()
    assert done(yard) == {0}
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    come()
    assert done(yard) == {1}


def test_a_lane_of_an_unknown_worker_does_not_begin(yard: Yard) -> None:
    """It would be an orphan, to be rescued at once; its steward asks for it again."""
    crew = yard.crew()
    yard.submit(yard.job())
    with yard.transaction() as connection:
        yard.ledger.workers.remove(connection, crew.process.worker_id)
    assert not crew.work()
    assert done(yard) == {0}
    assert yard.count("lanes") == 0


def test_a_shutdown_is_obeyed_after_the_chunk_in_hand(yard: Yard) -> None:
    """What the lane had not begun is handed on, and costs no attempt."""
    stopping = threading.Event()

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        stopping.set()

    handle = yard.submit(yard.job(process))
    crew = yard.crew()
    leaving = replace(crew, process=replace(crew.process, stopping=stopping.is_set))
    assert leaving.work(), "somebody else should come"
    assert list(yard.versions().values()) == [1] * 10 + [0] * 15
    assert yard.count("lanes") == 0
    yard.settle(handle)
    yard.assert_proper(handle)
    assert [chunk.attempt for chunk in handle.chunks()] == [1, 1, 1]


def test_a_run_whose_last_lane_died_is_called_back_all_the_same(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its last chunk and before it could ask whether it was the last one."""

    class Death(BaseException):
        pass

    def dies(*_: object, **__: object) -> bool:
        raise Death

    handle = yard.submit(yard.job())
    crew = yard.crew()
    with monkeypatch.context() as patch:
        patch.setattr("breakbulk.runner.work.close_run", dies)
        with pytest.raises(Death):
            crew.work()
    assert done(yard) == {1}
    assert handle.status() is RunStatus.RUNNING
    crew.work()
    yard.assert_proper(handle)


# What the steward sends


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The stewards' clock, to be set."""
    now = [1000.0]
    monkeypatch.setattr(stewards, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def asked_at(crew: Crew, clock: list[float], seconds: float) -> list[float]:
    """When a steward asks for lanes, as long as none comes."""
    began, moments = clock[0], []
    while clock[0] < began + seconds:
        crew.sent.clear()
        crew.tick()
        if crew.sent:
            moments.append(clock[0] - began)
        clock[0] += 1
    return moments


def test_lanes_that_do_not_come_are_asked_for_again_and_again_less_often(
    yard: Yard, clock: list[float]
) -> None:
    crew = yard.crew()
    handle = yard.submit(yard.job())
    assert asked_at(crew, clock, 50) == [0, 1, 3, 7, 15, 30, 45]
    yard.lane(handle)
    assert asked_at(crew, clock, 10) == [], "as many as are wanted"


def test_a_stranded_message_leaves_no_slot_idle(yard: Yard) -> None:
    """Three of four slots were busy after a hand-over, with the last message behind one of them.

    A worker that prefetches four had given it to a slot that was at work (seen).
    """
    handle = yard.submit(yard.job())
    crew = yard.crew(slots=4)
    assert crew.sent == [("celery", 5)], "one more than there are slots"
    for number in range(3):
        yard.lane(handle, number)
    crew.sent.clear()
    crew.tick()
    assert crew.sent == [("celery", 2)], "the one that is missing, and one more"


def test_a_lane_that_died_is_replaced_at_once(yard: Yard) -> None:
    """By its own steward, whether or not that one leads."""
    leader, other = yard.crew(), yard.crew()
    handle = yard.submit(yard.job())
    lane = yard.lane(handle, crew=other)
    other.tick()
    assert (other.sent, leader.sent) == ([], [])
    live_lanes.remove(lane.token)
    other.tick()
    assert other.sent == [("celery", 1)]


def test_postgres_a_steward_leaves_the_lanes_beside_it_alone(postgres_yard: Yard) -> None:
    """A thread's lane is known to its process before the ledger knows it."""
    yard = postgres_yard

    def process(chunk: Chunk[Goods]) -> None:
        yard.first_crew.tick()
        touch(chunk)

    handle = yard.submit(yard.job(process))
    yard.settle(handle)
    yard.assert_proper(handle)
    assert "rescued" not in {one.verb for one in handle.activity(100)}
    assert all(chunk.losses == 0 for chunk in handle.chunks())
