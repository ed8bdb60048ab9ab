"""Who works and who worked: known of every chunk, and written once a stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from breakbulk.domain.chunk import Bounds, Claim, Cut
from breakbulk.domain.history import AttemptState
from tests.support.yard import Boom, failing

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from breakbulk.domain.history import Attempt
    from breakbulk.ledger.lanes import Lane
    from tests.support.yard import Yard

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def attempts(handle: RunHandle, number: int, path: str = "") -> list[Attempt]:
    seen = handle.chunk_picture(number, path)
    assert seen is not None
    return seen.history.attempts


def call_worker(yard: Yard, host: str) -> None:
    """Give the worker another name, as if it were another one."""
    workers = yard.ledger.database.schema.workers
    with yard.engine.begin() as connection:
        connection.execute(update(workers).values(host=host))


def claim(yard: Yard, handle: RunHandle, lane: Lane, numbers: range) -> list[Claim]:
    """Have a lane carve chunks of ten rows with these numbers."""
    cuts = [
        Cut(Bounds(((number - 1) * 10,) if number > 1 else None, (number * 10,)), 10)
        for number in numbers
    ]
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        return yard.ledger.claims.carve(
            connection, handle.id, frontier, cuts, lane=lane.number, owner=uuid4(), exhausts=False
        )


def done(yard: Yard, claimed: Claim, seconds: float = 0.25) -> None:
    with yard.transaction() as connection:
        owner = claimed.owner
        assert yard.ledger.chunks.mark_done(connection, claimed.ref, owner, seconds) is not None


def test_a_chunk_that_is_done_names_its_worker(yard: Yard) -> None:
    handle = yard.run()
    process = yard.first_crew.process
    (attempt,) = attempts(handle, 2)
    assert (attempt.number, attempt.state) == (1, AttemptState.SUCCEEDED)
    assert attempt.worker == f"here/{process.pid}"
    assert attempt.began is not None
    assert attempt.ended is not None
    assert attempt.began <= attempt.ended
    assert handle.chunk_picture(99) is None


def test_its_name_stays_when_the_worker_has_gone(yard: Yard) -> None:
    handle = yard.run()
    with yard.engine.begin() as connection:
        connection.execute(delete(yard.ledger.database.schema.workers))
    assert attempts(handle, 1)[0].worker == f"here/{yard.first_crew.process.pid}"


def test_each_chunk_is_of_whoever_had_the_lane_then(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    pid = yard.first_crew.process.pid
    for number, host in ((1, "ash"), (2, "birch"), (3, "cedar")):
        call_worker(yard, host)
        lane = yard.lane(handle)
        (claimed,) = claim(yard, handle, lane, range(number, number + 1))
        done(yard, claimed)
        # The last one is still there.
        if number < 3:
            with yard.transaction() as connection:
                assert yard.ledger.lanes.leave(connection, lane.token)
    schema = yard.ledger.database.schema
    with yard.engine.begin() as connection:
        # So quick were they that a clock of milliseconds may have stood still.
        for minute in (1, 2):
            times = (LONG_AGO + timedelta(minutes=minute, seconds=second) for second in (0, 9, 9))
            began, ended, at = times
            stays, chunks = schema.stays, schema.chunks
            connection.execute(
                update(stays).where(stays.c.id == minute).values(started_at=began, ended_at=ended)
            )
            connection.execute(update(chunks).where(chunks.c.number == minute).values(ended_at=at))
    hosts = [attempts(handle, number)[0].worker for number in (1, 2, 3)]
    assert hosts == [f"ash/{pid}", f"birch/{pid}", f"cedar/{pid}"]


def test_what_was_done_before_anybody_wrote_it_down_has_no_name(yard: Yard) -> None:
    handle = yard.run()
    schema = yard.ledger.database.schema
    with yard.engine.begin() as connection:
        connection.execute(update(schema.chunks).values(ended_at=LONG_AGO))
    assert attempts(handle, 1)[0].worker is None
    with yard.engine.begin() as connection:
        connection.execute(delete(schema.stays))
    assert attempts(handle, 1)[0].worker is None


def test_attempts_that_failed_come_before_the_one_that_did_not(yard: Yard) -> None:
    handle = yard.run(failing(2), max_retries=3)
    told = attempts(handle, 2)
    assert [one.number for one in told] == [1, 2, 3]
    assert [str(one.state) for one in told] == ["failed", "failed", "succeeded"]
    assert told[0].failure is not None
    assert "attempt 1" in told[0].failure.message
    assert "Boom" in (told[0].failure.traceback or "")
    assert all(one.worker for one in told)
    assert all(one.began and one.ended and one.began <= one.ended for one in told)
    ends = [one.ended for one in told if one.ended]
    assert ends == sorted(ends)


def test_the_chunk_in_hand_and_those_that_follow(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    first, *_others = claim(yard, handle, lane, range(1, 4))
    (here,) = handle.lanes()
    assert (here.number, here.host, here.pid, here.chunk) == (0, "here", lane.pid, "1")
    assert here.pool == "threads"
    (under_way,) = attempts(handle, 1)
    assert (under_way.state, under_way.ended) == (AttemptState.RUNNING, None)
    assert under_way.began == here.since, "it was the lane's first one"
    assert under_way.worker == f"here/{lane.pid}"
    (to_come,) = attempts(handle, 2)
    assert (to_come.state, to_come.began) == (AttemptState.CLAIMED, None)
    done(yard, first)
    (under_way,) = attempts(handle, 2)
    assert under_way.state is AttemptState.RUNNING
    assert under_way.began == attempts(handle, 1)[0].ended, "right after the one before"
    assert handle.lanes()[0].chunk == "2"


def test_each_lane_has_its_own_chunk_in_hand(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    for number in (0, 1):
        claim(yard, handle, yard.lane(handle, number), range(number * 2 + 1, number * 2 + 3))
    assert [(one.number, one.chunk) for one in handle.lanes()] == [(0, "1"), (1, "3")]
    other = yard.submit(yard.job())
    assert other.lanes() == []


def test_a_lane_without_a_worker_is_seen(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    claim(yard, handle, lane, range(1, 2))
    with yard.engine.begin() as connection:
        connection.execute(delete(yard.ledger.database.schema.workers))
    (here,) = handle.lanes()
    assert (here.host, here.worker) == (None, f"unknown/{lane.pid}")
    assert here.as_dict()["chunk"] == "1"
    with yard.transaction() as connection:
        assert yard.ledger.lanes.leave(connection, lane.token)
    (claimed,) = attempts(handle, 1)
    assert (claimed.state, claimed.worker) == (AttemptState.CLAIMED, None), "nobody is at it"


def test_what_waits_says_until_when(yard: Yard) -> None:
    handle = yard.submit(yard.job(failing(1, number=1), retry_delay=3_600, max_retries=2))
    yard.first_crew.work()
    failed, to_come = attempts(handle, 1)
    assert failed.ended is not None
    assert to_come.due is not None
    assert (to_come.number, to_come.state) == (2, AttemptState.WAITING)
    assert (to_come.due - failed.ended).total_seconds() == pytest.approx(3_600, rel=0.3)


def test_what_has_had_its_tries_is_not_tried_again(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    (claimed,) = claim(yard, handle, lane, range(1, 2))
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        yard.ledger.claims.give_back(connection, claimed, wait=0, attempt_spent=True, spent=True)
    seen = handle.chunk_picture(1)
    assert seen is not None
    assert (seen.history.attempts, seen.history.spent) == ([], True)


def test_a_split_chunk_has_the_attempts_before_its_halves(yard: Yard) -> None:
    def bad(chunk: object) -> None:
        raise Boom(str(chunk))

    handle = yard.run(bad, max_retries=1, on_failure="skip")
    assert [str(one.state) for one in attempts(handle, 1)] == ["failed", "failed"]


def test_only_stays_in_which_somebody_worked_are_kept(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    with yard.transaction() as connection:
        assert yard.ledger.lanes.leave(connection, lane.token, worked=False)
        assert not yard.ledger.lanes.leave(connection, lane.token)
    assert yard.count("stays") == 0
    yard.settle(handle)
    stays = yard.ledger.database.schema.stays
    with yard.engine.connect() as connection:
        kept = connection.execute(select(stays)).all()
    assert 0 < len(kept) <= 2, "one a stay, however many chunks"
    assert all(row.started_at <= row.ended_at for row in kept)
