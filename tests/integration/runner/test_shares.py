"""The largest chunk that nobody has begun is shared out, where there are too few for all lanes."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import case, update

from breakbulk import Items, RunStatus
from breakbulk.domain.keys import decode_key
from breakbulk.domain.verdict import Kept
from tests.integration.runner.test_takeovers import hold, names, of_lanes, take_over, work
from tests.support.yard import Boom, Yard, touch

if TYPE_CHECKING:
    from breakbulk import Chunk, RunHandle
    from breakbulk.domain.chunk import Claim
    from breakbulk.ledger.lanes import Lane
    from tests.support.yard import Goods

#: What a row has taken so far, in seconds: three of them take longer than ``carve_seconds``.
_SLOW = 0.5


def slow_tail(yard: Yard, handle: RunHandle, *, pace: float = _SLOW) -> tuple[list[Lane], Claim]:
    """One lane holds 14 rows, and 6 that it has not begun; two others have nothing to do."""
    lanes = [yard.lane(handle, number) for number in range(3)]
    (first,) = hold(yard, handle, lanes[0], 1)
    work(yard, handle, first)
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        connection.execute(update(chunks).values(seconds=5 * pace))
    hold(yard, handle, lanes[0], 1, rows=14)
    (last,) = hold(yard, handle, lanes[0], 1, rows=6)
    return lanes, last


def test_the_thief_keeps_half_and_leaves_the_rest_to_the_next(yard: Yard) -> None:
    handle = yard.submit(yard.job(chunk_size=5))
    lanes, last = slow_tail(yard, handle)
    taken = take_over(yard, handle, lanes[1]).claims
    assert names(taken) == ["3.a"]
    assert (taken[0].rows, taken[0].attempt, taken[0].bounds.after) == (3, 1, last.bounds.after)
    (waits,) = yard.rows_of("waiting")
    assert (waits["path"], waits["tried"], waits["spent"]) == ("b", False, False)
    assert of_lanes(yard) == {0: ["2"], 1: ["3.a"]}
    assert handle.audit().clean
    assert "shared out chunk 3" in str(handle.activity()[0].detail)
    work(yard, handle, taken[0])
    for lane in lanes:
        with yard.runtime.database.connect() as connection, connection.begin():
            yard.ledger.lanes.leave(connection, lane.token)
    with yard.transaction() as connection:
        for claim in yard.ledger.claims.held_by_lane(connection, handle.id, 0):
            yard.ledger.claims.give_back(connection, claim, wait=0, attempt_spent=False)
    yard.settle(handle)
    yard.assert_proper(handle)
    record, progress = handle.record(), handle.progress()
    assert record.summary is not None
    assert (record.summary.rows_done, record.summary.chunks_done) == (25, 4)
    assert (progress.rows_done, progress.rows_total, progress.chunks_carved) == (25, 25, 3)
    assert [part.name for part in handle.parts(3)] == ["3", "3.a", "3.b"]


@pytest.mark.parametrize("why", ["quick", "enough for all", "tried", "one row"])
def test_nothing_is_shared_out_that_is_not_worth_it(yard: Yard, why: str) -> None:
    handle = yard.submit(yard.job(chunk_size=5))
    lanes, _ = slow_tail(yard, handle, pace=0.01 if why == "quick" else _SLOW)
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        if why == "enough for all":
            yard.ledger.lanes.leave(connection, lanes[2].token)
        elif why == "tried":
            connection.execute(update(chunks).values(attempt=2))
        elif why == "one row":
            connection.execute(update(chunks).where(chunks.c.number == 3).values(rows=1))
    assert names(take_over(yard, handle, lanes[1]).claims) == ["3"]
    assert not yard.count("waiting")


def test_slots_that_are_free_count_as_lanes_with_nothing_to_do(yard: Yard) -> None:
    """A lane that found nothing has left, and comes again only to what waits."""
    handle = yard.submit(yard.job(chunk_size=5))
    crew = yard.crew(slots=4)
    lanes, _ = slow_tail(yard, handle)
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lanes[2].token)
    crew.sent.clear()
    assert names(take_over(yard, handle, lanes[1]).claims) == ["3.a"]
    crew.tick()
    assert crew.sent, "somebody is asked to come for the other half"


@pytest.mark.parametrize("why", ["a cap on lanes", "a throttle"])
def test_slots_that_the_run_may_not_have_do_not_count(yard: Yard, why: str) -> None:
    handle = yard.submit(yard.job(chunk_size=5))
    yard.crew(slots=4)
    lanes, _ = slow_tail(yard, handle)
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lanes[2].token)
        runs = yard.ledger.database.schema.runs
        limit = {"max_lanes": 2} if why == "a cap on lanes" else {"throttled_to": 2}
        connection.execute(update(runs).values(**limit))
    assert names(take_over(yard, handle, lanes[1]).claims) == ["3"]
    assert not yard.count("waiting")


def test_one_slow_chunk_tells_of_those_behind_it(yard: Yard) -> None:
    """Whatever many quick ones took before it."""
    handle = yard.submit(yard.job(chunk_size=1))
    lanes = [yard.lane(handle, number) for number in range(3)]
    for claim in hold(yard, handle, lanes[0], 11, rows=1):
        work(yard, handle, claim)
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        slow = case((chunks.c.number == 11, _SLOW), else_=0.001)
        connection.execute(update(chunks).values(seconds=slow))
    hold(yard, handle, lanes[0], 1, rows=8)
    hold(yard, handle, lanes[0], 1, rows=6)
    assert names(take_over(yard, handle, lanes[1]).claims) == ["13.a"]


def test_one_slow_chunk_tells_of_those_before_it(yard: Yard) -> None:
    """Who takes over begins with the upper ones, so what is done lies behind what is left."""
    handle = yard.submit(yard.job(chunk_size=1))
    lanes = [yard.lane(handle, number) for number in range(4)]
    for claim in hold(yard, handle, lanes[0], 10, rows=1):
        work(yard, handle, claim)
    hold(yard, handle, lanes[0], 1, rows=1)
    hold(yard, handle, lanes[0], 1, rows=6)
    (last,) = hold(yard, handle, lanes[1], 1, rows=8)
    work(yard, handle, last)
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        slow = case((chunks.c.number == 13, 8 * _SLOW), else_=0.001)
        connection.execute(update(chunks).values(seconds=slow))
    assert names(take_over(yard, handle, lanes[2]).claims) == ["12.a"]


def test_rows_that_have_gone_cannot_be_shared_out(yard: Yard) -> None:
    handle = yard.submit(yard.job(chunk_size=5))
    lanes, _ = slow_tail(yard, handle)
    with yard.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM goods WHERE id > 20")
    assert names(take_over(yard, handle, lanes[1]).claims) == ["3"]


def test_a_share_is_shared_out_again(yard: Yard) -> None:
    handle = yard.submit(yard.job(chunk_size=5))
    lanes, _ = slow_tail(yard, handle)
    (taken,) = take_over(yard, handle, lanes[1]).claims
    with yard.transaction() as connection:
        (rest,) = yard.ledger.claims.claim_waiting(
            connection, handle.id, lane=1, owner=taken.owner, limit=9
        )
    assert str(rest.ref) == "3.b"
    yard.lane(handle, 3)
    assert names(take_over(yard, handle, lanes[2]).claims) == ["3.ba"]
    assert handle.audit().clean


def test_a_share_that_fails_has_all_its_tries_and_is_to_blame_for_itself(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if any(row.id == 24 for row in chunk):
            raise Boom

    handle = yard.submit(yard.job(process, chunk_size=5, max_retries=2))
    lanes, _ = slow_tail(yard, handle)
    take_over(yard, handle, lanes[1])
    with yard.transaction() as connection:
        for number, lane in enumerate(lanes):
            for claim in yard.ledger.claims.held_by_lane(connection, handle.id, number):
                yard.ledger.claims.give_back(connection, claim, wait=0, attempt_spent=False)
            yard.ledger.lanes.leave(connection, lane.token)
    caplog.set_level(logging.INFO, logger="breakbulk.lane")
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert [decode_key(row.key) for row in handle.errors()] == [(24,)]
    attempts = [
        (str(one.chunk), one.attempt) for one in reversed(handle.failures()) if one.chunk == "3.b"
    ]
    assert attempts == [("3.b", 1), ("3.b", 2), ("3.b", 3)], "as many as any chunk has"
    others = {str(one.chunk) for one in handle.failures()} - {"3.b"}
    assert others <= {"3.b0", "3.b1", "3.b00", "3.b01", "3.b10", "3.b11"}
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert [one.split(" failed")[0].split("chunk ")[-1] for one in errors] == ["3.b"], errors
    assert handle.audit().clean
    assert [version for key, version in yard.versions().items() if key != 24] == [1] * 24
    handle.retry(chunk="3.b")
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
    assert {row["path"][:1] for row in yard.rows_of("waiting")} == {"b"}


def test_under_a_cap_nothing_is_begun_anew(yard: Yard) -> None:
    """What waits is counted when it is claimed, so it is not until then."""
    handle = yard.submit(yard.job(chunk_size=5), max_rows_per_second=1)
    lanes, _ = slow_tail(yard, handle)
    throttles = yard.ledger.throttles
    with yard.transaction() as connection:
        now = throttles.allowance(connection, handle.id, 1).now
        throttles.use(connection, handle.id, now + timedelta(seconds=20))
        connection.execute(update(yard.ledger.database.schema.runs).values(throttled_to=3))
    (taken,) = take_over(yard, handle, lanes[1]).claims
    with yard.transaction() as connection:
        allowance = throttles.allowance(connection, handle.id, 1)
    assert taken.rows == 3
    assert allowance.used_until == now + timedelta(seconds=17)


def test_items_that_keep_results_are_taken_over_one_by_one(yard: Yard) -> None:
    def process(chunk: Chunk[int]) -> Kept:
        return Kept("1")

    handle = yard.submit(
        yard.job(process, source=lambda: Items(range(1, 26)), finished=None, keeps=True)
    )
    lanes = [yard.lane(handle, number) for number in range(3)]
    hold(yard, handle, lanes[0], 25, rows=1)
    assert len(take_over(yard, handle, lanes[1]).claims) == 12
    assert not yard.count("waiting")
