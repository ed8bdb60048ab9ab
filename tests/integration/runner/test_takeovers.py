"""Lanes with nothing to do take over what others have not begun, and nothing that they are at."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from breakbulk import RunStatus
from breakbulk.domain.chunk import Bounds, Claim, Cut
from breakbulk.domain.failure import Failure
from breakbulk.errors import LostClaim
from breakbulk.ledger.sql import clock
from breakbulk.runner.attempt import Tally, Work
from breakbulk.runner.hand import Hand, Slice
from breakbulk.runner.origin import source_of
from breakbulk.runner.rescue import rescue
from breakbulk.runner.takeover import Taken, TakeOver
from tests.support.waiting import wait_for
from tests.support.yard import Yard, statements, touch, wipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from breakbulk import Chunk, RunHandle
    from breakbulk.ledger.lanes import Lane
    from tests.support.yard import Goods

#: The chunks of these lanes, as a rule: so many rows each.
_ROWS = 5


def hold(
    yard: Yard, handle: RunHandle, lane: Lane, chunks: int, *, ago: float = 10.0, rows: int = _ROWS
) -> list[Claim]:
    """Let a lane hold the next chunks, the last of all if these are the 25 rows' end."""
    claims = yard.ledger.claims
    with yard.transaction() as connection:
        claims.lock(connection, handle.id)
        frontier = claims.frontier(connection, handle.id, lane.token)
        edges = [frontier.rows + rows * place for place in range(chunks + 1)]
        cuts = [
            Cut(Bounds((after,) if after else None, (upto,)), rows)
            for after, upto in pairwise(edges)
        ]
        exhausts = edges[-1] == 25
        made = claims.carve(
            connection,
            handle.id,
            frontier,
            cuts,
            lane=lane.number,
            owner=uuid4(),
            exhausts=exhausts,
        )
        if exhausts:
            carves = yard.ledger.database.schema.carves
            connection.execute(update(carves).values(exhausted_at=clock(-ago)))
    return made


def parts(yard: Yard, handle: RunHandle) -> tuple[Any, Any]:
    run = handle.record()
    spec = yard.bulk.jobs.get(run.job)
    job = spec.build(run.parameters)
    return job, source_of(yard.runtime, spec, job, run)


def take_over(yard: Yard, handle: RunHandle, lane: Lane, *, tell: bool = True) -> Taken:
    _, source = parts(yard, handle)
    with yard.runtime.database.connect() as connection:
        taking = TakeOver(yard.runtime, connection, connection, handle.record(), lane, source)
        return taking.attempt(uuid4(), tell=tell)


def work(yard: Yard, handle: RunHandle, claim: Claim) -> RunStatus | None:
    job, source = parts(yard, handle)
    with yard.runtime.database.connect() as connection:
        return Work(yard.runtime, handle.record(), job, source, 0, Tally()).attempt(
            connection, connection, claim
        )


def hand_of(yard: Yard, handle: RunHandle, lane: Lane, claims: Sequence[Claim], at: float) -> Hand:
    """What a lane knows that has claimed these at some time."""
    hand = Hand(yard.runtime, lane, handle.record(), Slice(float("inf"), yard.first_crew.process))
    hand._owners.update(claim.owner for claim in claims)
    hand._take(list(claims), at)
    return hand


def names(claims: Sequence[Claim]) -> list[str]:
    return [str(claim.ref) for claim in claims]


def of_lanes(yard: Yard) -> dict[int, list[str]]:
    """Which chunks each lane holds."""
    found: dict[int, list[str]] = {}
    for row in sorted(yard.rows_of("chunks"), key=lambda row: (row["number"], row["path"])):
        if row["status"] == "carved":
            name = f"{row['number']}.{row['path']}" if row["path"] else str(row["number"])
            found.setdefault(row["lane"], []).append(name)
    return found


@pytest.fixture
def handle(yard: Yard) -> RunHandle:
    return yard.submit(yard.job(chunk_size=_ROWS))


# What is taken


@pytest.mark.parametrize(
    ("held", "taken"),
    [(1, []), (2, ["2"]), (3, ["3"]), (4, ["3", "4"]), (5, ["4", "5"])],
)
def test_half_of_what_is_not_begun_and_never_the_lowest(
    yard: Yard, handle: RunHandle, held: int, taken: list[str]
) -> None:
    lane, other, third = (yard.lane(handle, number) for number in range(3))
    hold(yard, handle, lane, held)
    if held < 5:
        # Somebody has the rest, in one chunk.
        hold(yard, handle, third, 1, rows=25 - held * _ROWS)
    found = take_over(yard, handle, other)
    assert names(found.claims) == taken
    assert of_lanes(yard).get(1, []) == taken
    assert all(claim.attempt == 1 and not claim.losses for claim in found.claims)
    assert len({claim.owner for claim in found.claims}) == bool(taken)
    if taken:
        assert found.claims[0].owner.hex in {
            row["owner"].hex for row in yard.rows_of("chunks", "lane = 1")
        }
        note = handle.activity()[0]
        assert (note.actor, note.verb) == ("lane 1", "took over")
        assert f"{len(taken)} of lane 0's chunks" in str(note.detail)
    assert handle.audit().clean


def test_of_the_lane_with_the_most_rows(yard: Yard, handle: RunHandle) -> None:
    few, many, idle = (yard.lane(handle, number) for number in range(3))
    hold(yard, handle, few, 3, rows=1)
    hold(yard, handle, many, 2, rows=11)
    assert names(take_over(yard, handle, idle).claims) == ["5"]


def test_again_and_again_until_everybody_has_one(yard: Yard, handle: RunHandle) -> None:
    lanes = [yard.lane(handle, number) for number in range(6)]
    hold(yard, handle, lanes[0], 5)
    for lane in lanes[1:]:
        take_over(yard, handle, lane, tell=False)
    assert of_lanes(yard) == {0: ["1"], 1: ["4"], 2: ["3"], 3: ["2"], 4: ["5"]}
    assert [one.verb for one in handle.activity()].count("took over") == 0


def test_not_while_there_is_something_to_carve(yard: Yard, handle: RunHandle) -> None:
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    hold(yard, handle, lane, 4)
    assert take_over(yard, handle, other) == Taken()


def test_not_before_those_who_hold_something_know_that_they_must_ask(
    yard: Yard, handle: RunHandle
) -> None:
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    hold(yard, handle, lane, 5, ago=0.4)
    found = take_over(yard, handle, other)
    assert not found.claims
    assert 0 < found.wait <= 0.6
    assert of_lanes(yard) == {0: list("12345")}


@pytest.mark.parametrize("why", ["paused", "too many", "dead"])
def test_nothing_is_taken_that_may_not_be_worked_on(
    yard: Yard, handle: RunHandle, why: str
) -> None:
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    hold(yard, handle, lane, 5)
    if why == "paused":
        handle.pause()
    elif why == "too many":
        handle.limit_lanes(1, by="ana")
    else:
        with yard.transaction() as connection:
            yard.ledger.lanes.leave(connection, other.token)
    assert take_over(yard, handle, other) == Taken()
    assert of_lanes(yard) == {0: list("12345")}


# Races


def test_postgres_a_lane_that_is_just_done_with_one_may_be_at_the_next(
    postgres_yard: Yard,
) -> None:
    """It has marked its lowest and not committed yet: from outside it looks as if at work."""
    yard = postgres_yard
    handle = yard.submit(yard.job(chunk_size=_ROWS))
    lane, other, third = (yard.lane(handle, number) for number in range(3))
    first, second = hold(yard, handle, lane, 2)
    hold(yard, handle, third, 1, rows=15)
    chunks = yard.ledger.chunks
    with yard.runtime.database.connect() as connection:
        with connection.begin():
            chunks.begin(connection, first.ref)
            assert chunks.mark_done(connection, first.ref, first.owner, 0.1)
            assert take_over(yard, handle, other) == Taken(moved=True)
        with connection.begin():
            chunks.begin(connection, second.ref)
            assert take_over(yard, handle, other) == Taken()
            assert chunks.mark_done(connection, second.ref, second.owner, 0.1)


def test_postgres_while_others_take_nobody_goes_on_to_the_next(postgres_yard: Yard) -> None:
    """Between the look at what a lane holds and the taking, its lowest cannot end."""
    yard = postgres_yard
    handle = yard.submit(yard.job(chunk_size=_ROWS))
    lane = yard.lane(handle)
    claims = hold(yard, handle, lane, 5)
    done = threading.Event()

    def finish() -> None:
        work(yard, handle, claims[0])
        done.set()

    thread = threading.Thread(target=finish)
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        assert yard.ledger.takeovers.pin(connection, claims[0])
        thread.start()
        wait_for(lambda: yard_waits(yard), message="the lane to wait with its mark")
        assert not done.is_set()
        taken = yard.ledger.takeovers.take(connection, claims[1:], lane=1, owner=uuid4())
        assert names(taken) == list("2345")
    thread.join(timeout=60)
    assert done.is_set()
    hand = hand_of(yard, handle, lane, claims, float("-inf"))
    hand.done(0.1)
    with yard.runtime.database.connect() as connection:
        assert not hand.keeps(connection)
    assert hand.lowest is None


def yard_waits(yard: Yard) -> bool:
    with yard.engine.connect() as connection:
        return bool(
            connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            ).scalar_one()
        )


def test_what_has_changed_hands_meanwhile_is_left_alone(yard: Yard, handle: RunHandle) -> None:
    lane = yard.lane(handle)
    claims = hold(yard, handle, lane, 5)
    stale = [replace(claim, owner=uuid4()) for claim in claims]
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        assert yard.ledger.takeovers.take(connection, stale, lane=1, owner=uuid4()) == []
        assert not yard.ledger.takeovers.pin(connection, stale[0])
    assert of_lanes(yard) == {0: list("12345")}


def test_who_was_robbed_puts_it_down_without_work(
    yard: Yard, handle: RunHandle, caplog: pytest.LogCaptureFixture
) -> None:
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    claims = hold(yard, handle, lane, 5)
    hand = hand_of(yard, handle, lane, claims, time.monotonic() - 10)
    with yard.runtime.database.connect() as connection:
        assert hand.keeps(connection)
        taken = take_over(yard, handle, other).claims
        assert names(taken) == ["4", "5"]
        for number in (1, 2, 3):
            assert hand.lowest is not None
            assert hand.lowest.ref.number == number
            assert hand.keeps(connection)
            work(yard, handle, hand.lowest)
            hand.done(0.1)
        assert not hand.keeps(connection)
        assert hand.lowest is None
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    for claim in taken:
        work(yard, handle, claim)
    assert set(yard.versions().values()) == {1}


def test_who_does_not_ask_works_in_vain(yard: Yard, handle: RunHandle) -> None:
    """The fence has the last word."""
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    claims = hold(yard, handle, lane, 5)
    taken = take_over(yard, handle, other).claims
    with pytest.raises(LostClaim):
        work(yard, handle, claims[-1])
    work(yard, handle, taken[-1])
    assert list(yard.versions().values()) == [0] * 20 + [1] * 5


def test_nobody_asks_who_cannot_have_been_robbed(yard: Yard, handle: RunHandle) -> None:
    lane = yard.lane(handle)
    claims = hold(yard, handle, lane, 5)
    hand = hand_of(yard, handle, lane, claims, time.monotonic() + 1000)
    with yard.runtime.database.connect() as connection, statements(yard.engine) as seen:
        while hand.lowest is not None:
            assert hand.keeps(connection)
            hand.done(0.1)
    assert not seen


def test_who_has_held_something_for_long_asks_once_in_a_while(
    yard: Yard, handle: RunHandle
) -> None:
    lane = yard.lane(handle)
    claims = hold(yard, handle, lane, 4)
    hand = hand_of(yard, handle, lane, claims, time.monotonic() - 10)
    with yard.runtime.database.connect() as connection, statements(yard.engine) as seen:
        while hand.lowest is not None:
            assert hand.keeps(connection)
            hand.done(0.1)
    assert sum("exhausted_at" in one for one in seen) == 1


def test_the_answer_to_a_takeover_may_be_lost(yard: Yard, handle: RunHandle) -> None:
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    hold(yard, handle, lane, 5)
    hand = hand_of(yard, handle, other, [], 0.0)
    _, source = parts(yard, handle)
    with yard.runtime.database.connect() as connection:
        TakeOver(yard.runtime, connection, connection, handle.record(), other, source).attempt(
            hand._new_owner(), tell=True
        )
        hand.reread(connection)
    assert [str(one.ref) for one in (hand.lowest, *hand.others) if one] == ["4", "5"]


# Who dies


def test_of_a_dead_thief_only_the_chunk_in_hand_is_lost(yard: Yard, handle: RunHandle) -> None:
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    hold(yard, handle, lane, 5)
    take_over(yard, handle, other)
    with yard.runtime.database.connect() as connection:
        assert rescue(yard.runtime, connection, other, why="a test")
        assert rescue(
            yard.runtime, connection, lane, why="a test", failure=Failure.of_death("a test")
        )
    rows = sorted(yard.rows_of("chunks"), key=lambda row: int(row["number"]))
    assert [(row["attempt"], row["losses"]) for row in rows] == [
        (1, 0),  # the victim's in hand: its failure is on record
        (0, 0),
        (0, 0),
        (0, 1),
        (0, 0),
    ]
    yard.settle(handle)
    yard.assert_proper(handle)


# Lanes as they are


def test_postgres_nobody_is_alone_with_a_slow_tail(
    postgres_ground: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """One lane has carved ahead as much as was quick until then, and its next row is not."""
    caplog.set_level(logging.INFO, logger="breakbulk.lane")
    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=40, shared=True, carve_seconds=0.3, slice_seconds=60.0)
    slow, go_on = threading.Event(), threading.Event()
    workers: dict[int, str] = {}

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        workers[chunk.number] = threading.current_thread().name
        if chunk.number == 3:
            slow.set()
            assert go_on.wait(timeout=60)

    try:
        handle = yard.submit(yard.job(process, chunk_size=1))
        victim, thief = yard.crew(), yard.crew()
        first = threading.Thread(target=victim.work, name="victim")
        first.start()
        assert slow.wait(timeout=60)
        thief.work()
        # All but what the other has in hand, while it still has it.
        assert [row["number"] for row in yard.rows_of("chunks", "status <> 'succeeded'")] == [3]
        go_on.set()
        first.join(timeout=60)
        yard.settle(handle)
        yard.assert_proper(handle)
        mine = sorted(number for number, name in workers.items() if name == "victim")
        assert mine == [1, 2, 3]
        assert any("took over" in one.message for one in caplog.records)
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    finally:
        go_on.set()
        yard.close()
