"""Of several attempts at a chunk at most one commits, and carving leaves no gap and no overlap."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select, text, update
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.chunk import Bounds, Claim, Cut, RunId
from breakbulk.domain.status import ChunkStatus, RunStatus
from breakbulk.errors import LostClaim
from breakbulk.ledger import database as ledger_database
from breakbulk.ledger.lanes import Lane
from breakbulk.runner import origin
from breakbulk.runner.attempt import Tally, Work, settled
from breakbulk.runner.carve import Ground, carve
from breakbulk.runner.finish import call_back, close_run
from breakbulk.settings import Settings
from tests.support.waiting import wait_for
from tests.support.yard import Goods, together, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import Chunk, RunHandle
    from breakbulk.sources import Source
    from tests.support.yard import Yard


def source_of(yard: Yard, handle: RunHandle) -> tuple[Any, Source[Any]]:
    run = handle.record()
    spec = yard.bulk.jobs.get(run.job)
    job = spec.build(run.parameters)
    return job, origin.source_of(yard.runtime, spec, job, run)


def carved(yard: Yard, handle: RunHandle, lane: Lane, chunks: int = 1) -> list[Claim]:
    _, source = source_of(yard, handle)
    with yard.runtime.database.connect() as connection:
        found = carve(
            yard.runtime,
            connection,
            connection,
            run=handle.record(),
            lane=lane,
            owner=uuid4(),
            source=source,
            chunks=chunks,
        )
    return list(found.claims)


def attempt(yard: Yard, handle: RunHandle, claim: Claim) -> RunStatus | None:
    job, source = source_of(yard, handle)
    work = Work(yard.runtime, handle.record(), job, source, 0, Tally())
    with yard.runtime.database.connect() as connection:
        return work.attempt(connection, connection, claim)


def test_two_copies_of_one_lane_process_a_chunk_once(yard: Yard) -> None:
    """Both hold the same token, as after a message that was delivered twice (reproduced)."""
    handle = yard.submit(yard.job())
    (claim,) = carved(yard, handle, yard.lane(handle))

    results = together(*[lambda: attempt(yard, handle, claim)] * 3)

    assert sorted(type(one).__name__ for one in results) == ["LostClaim", "LostClaim", "RunStatus"]
    assert list(yard.versions().values()) == [1] * 10 + [0] * 15


@pytest.mark.parametrize("owner", ["wrong", "none"])
def test_a_claim_that_was_taken_over_rolls_everything_back(yard: Yard, owner: str) -> None:
    handle = yard.submit(yard.job())
    (claim,) = carved(yard, handle, yard.lane(handle))
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        connection.execute(update(chunks).values(owner=uuid4() if owner == "wrong" else None))

    with pytest.raises(LostClaim, match="taken over by another attempt"):
        attempt(yard, handle, claim)

    assert set(yard.versions().values()) == {0}
    assert yard.rows_of("chunks")[0]["status"] == "carved"


def test_labels_are_no_fence(yard: Yard) -> None:
    """Number, attempt and lane of the claim are those of the chunk; only the token is not."""
    handle = yard.submit(yard.job())
    (claim,) = carved(yard, handle, yard.lane(handle))
    with pytest.raises(LostClaim):
        attempt(yard, handle, replace(claim, owner=uuid4()))
    assert attempt(yard, handle, claim) is RunStatus.RUNNING
    with pytest.raises(LostClaim):
        attempt(yard, handle, claim)
    assert list(yard.versions().values()) == [1] * 10 + [0] * 15


def test_a_chunk_that_is_taken_over_meanwhile_is_lost(yard: Yard) -> None:
    """The owner is declared dead in the middle of its work, and another one is faster."""
    taken: list[Claim] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)

    handle = yard.submit(yard.job(process))
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    (claim,) = carved(yard, handle, lane)
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        assert yard.ledger.claims.give_back(connection, claim, wait=0, attempt_spent=True)
        taken += yard.ledger.claims.claim_waiting(
            connection, handle.id, lane=other.number, owner=uuid4(), limit=10
        )
    (second,) = taken
    assert (second.ref, second.attempt) == (claim.ref, 2)
    assert second.owner != claim.owner
    with pytest.raises(LostClaim):
        attempt(yard, handle, claim)
    attempt(yard, handle, second)
    assert list(yard.versions().values()) == [1] * 10 + [0] * 15
    # What the first one held on to is worth nothing any more.
    with yard.transaction() as connection:
        assert not yard.ledger.claims.give_back(connection, claim, wait=0, attempt_spent=False)
        assert not yard.ledger.claims.retire(connection, claim, ChunkStatus.FAILED, rows=10)
        assert yard.ledger.claims.held_by(connection, handle.id, [claim.owner]) == []
    assert yard.rows_of("chunks")[0]["status"] == "succeeded"


def test_the_status_comes_with_the_mark(yard: Yard) -> None:
    """So that a pause is obeyed after the chunk in hand."""
    handle = yard.submit(yard.job())
    first, second = carved(yard, handle, yard.lane(handle), 2)
    assert attempt(yard, handle, first) is RunStatus.RUNNING
    assert handle.pause() is RunStatus.PAUSING
    assert attempt(yard, handle, second) is RunStatus.PAUSING


# Carving


def test_lanes_that_carve_at_once_leave_no_gap_and_no_overlap(yard: Yard) -> None:
    yard.add_goods(range(26, 301))
    handle = yard.submit(yard.job(chunk_size=3))
    lanes = [yard.lane(handle, number) for number in range(4)]

    def carve_all(lane: Lane) -> int:
        _, source = source_of(yard, handle)
        run, count = handle.record(), 0
        with yard.runtime.database.connect() as connection:
            while True:
                found = carve(
                    yard.runtime,
                    connection,
                    connection,
                    run=run,
                    lane=lane,
                    owner=uuid4(),
                    source=source,
                    chunks=1 + count % 3,
                )
                count += len(found.claims)
                if found.ground is Ground.EXHAUSTED:
                    return count

    counts = together(*(lambda lane=lane: carve_all(lane) for lane in lanes))
    chunks = sorted(yard.rows_of("chunks"), key=lambda row: int(row["number"]))
    assert sum(counts) == len(chunks) == 100
    assert [row["number"] for row in chunks] == list(range(1, 101))
    assert [row["after"] for row in chunks] == [None, *(row["upto"] for row in chunks[:-1])]
    assert chunks[-1]["upto"] == handle.record().until == "[300]"
    assert chunks[-1]["rows_upto"] == sum(row["rows"] for row in chunks) == 300


def test_a_carve_from_an_old_frontier_is_refused(yard: Yard) -> None:
    """Two walk from the same place; the second to get the lock must see that it has moved."""
    handle = yard.submit(yard.job())
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    _, source = source_of(yard, handle)
    walk = source.walk

    def walk_while_another_carves(*args: Any, **given: Any) -> Any:
        found = walk(*args, **given)
        if not yard.count("chunks"):
            assert carved(yard, handle, other)
        return found

    source.walk = walk_while_another_carves  # type: ignore[method-assign]
    run = handle.record()
    with yard.runtime.database.connect() as connection:
        first = carve(
            yard.runtime,
            connection,
            connection,
            run=run,
            lane=lane,
            source=source,
            chunks=1,
            owner=uuid4(),
        )
        assert first.ground is Ground.MOVED
        again = carve(
            yard.runtime,
            connection,
            connection,
            run=run,
            lane=lane,
            source=source,
            chunks=1,
            owner=uuid4(),
        )
    assert [claim.ref.number for claim in again.claims] == [2]
    assert again.claims[0].bounds == Bounds((10,), (20,))


def test_postgres_the_frontier_is_asked_after_the_wait(postgres_yard: Yard) -> None:
    """Asked inside the statement that waits for the lock it is that of before (reproduced)."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    schema = yard.ledger.database.schema
    seen: dict[str, Any] = {}

    def wait_for_lock() -> None:
        with yard.transaction() as connection:
            # One statement that both waits and looks, which is what must not be done …
            newest = select(schema.chunks.c.number).where(schema.chunks.c.run_id == handle.id)
            query = select(newest.exists()).where(schema.carves.c.run_id == handle.id)
            locking = query.with_for_update(of=schema.carves, key_share=True)
            seen["within"] = connection.execute(locking.select_from(schema.carves)).scalar_one()
            # … and how it is done.
            frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
            seen["after"] = frontier.number

    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        waiter = threading.Thread(target=wait_for_lock)
        waiter.start()
        wait_for(lambda: blocked(yard) == 1, message="the other to wait")
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        cut = Cut(Bounds(None, (10,)), 10)
        yard.ledger.claims.carve(
            connection, handle.id, frontier, [cut], lane=lane.number, owner=uuid4(), exhausts=False
        )
    waiter.join(timeout=60)
    assert seen == {"within": False, "after": 1}


def blocked(yard: Yard) -> int:
    with yard.engine.connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        return int(connection.execute(query).scalar_one())


def test_postgres_a_pause_never_waits_for_a_carve(postgres_yard: Yard) -> None:
    yard = postgres_yard
    handle = yard.submit(yard.job())
    with yard.transaction() as carving:
        yard.ledger.claims.lock(carving, handle.id)
        with yard.transaction() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert yard.ledger.runs.move(connection, handle.id, RunStatus.PAUSING, actor="test")


def test_a_stopped_run_and_a_dead_lane_carve_no_more(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    assert carved(yard, handle, lane)
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    assert carved(yard, handle, lane) == []
    alive = yard.lane(handle)
    handle.pause()
    assert carved(yard, handle, alive) == []
    with yard.transaction() as connection:
        assert not yard.ledger.claims.may_work(connection, handle.id, alive.token)


def test_the_last_chunks_are_shared(yard: Yard) -> None:
    """One lane must not take all that is left, or the others stand idle at the end."""
    handle = yard.submit(yard.job(chunk_size=5))
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    taken = [len(carved(yard, handle, one, 100)) for one in (lane, other, lane, other)]
    # Where it is known from the beginning how many there are, the first one takes less.
    assert taken in ([3, 1, 1, 0], [2, 1, 1, 1])


# Waiting chunks


def test_a_waiting_chunk_is_claimed_once_and_not_before_its_time(yard: Yard) -> None:
    handle = yard.submit(yard.job(chunk_size=5))
    lane = yard.lane(handle)
    soon, later, *_ = carved(yard, handle, lane, 3)
    with yard.transaction() as connection:
        yard.ledger.claims.give_back(connection, soon, wait=0, attempt_spent=True)
        yard.ledger.claims.give_back(connection, later, wait=60, attempt_spent=True)

    def claim(number: int) -> list[Claim]:
        with yard.transaction() as connection:
            yard.ledger.claims.lock(connection, handle.id)
            return yard.ledger.claims.claim_waiting(
                connection, handle.id, lane=number, owner=uuid4(), limit=10
            )

    results = together(*(lambda number=number: claim(number) for number in range(3)))
    claims = [one for result in results for one in result]
    assert [(one.ref, one.attempt) for one in claims] == [(soon.ref, 2)]
    assert yard.count("waiting") == 1


@pytest.mark.parametrize(("spent", "counted"), [(True, 1), (False, 0)])
def test_what_was_not_begun_costs_no_attempt(yard: Yard, spent: bool, counted: int) -> None:
    handle = yard.submit(yard.job())
    (claim,) = carved(yard, handle, yard.lane(handle))
    assert claim.attempt == 1
    with yard.transaction() as connection:
        yard.ledger.claims.give_back(connection, claim, wait=0, attempt_spent=spent)
    assert yard.rows_of("chunks")[0]["attempt"] == counted


# Finishing


def test_of_many_who_ask_at_once_one_calls_back(yard: Yard) -> None:
    handle = yard.submit(yard.job(chunk_size=30))
    lanes = [yard.lane(handle, number) for number in range(4)]
    (claim,) = carved(yard, handle, lanes[0])
    attempt(yard, handle, claim)
    process = yard.first_crew.process

    def finish(lane: Lane) -> bool:
        with yard.runtime.database.connect() as connection:
            return close_run(yard.runtime, connection, handle.id) and call_back(
                yard.runtime, connection, connection, process, lane
            )

    results = together(*(lambda lane=lane: finish(lane) for lane in lanes))
    assert sorted(results) == [False, False, False, True]
    assert yard.notices() == ["succeeded 25"]
    assert [one.verb for one in handle.activity()].count("finishing") == 1


@pytest.mark.parametrize("left", ["carved", "waiting"])
def test_a_run_with_an_unfinished_chunk_is_not_closed(yard: Yard, left: str) -> None:
    handle = yard.submit(yard.job(chunk_size=30))
    (claim,) = carved(yard, handle, yard.lane(handle))
    if left == "waiting":
        with yard.transaction() as connection:
            yard.ledger.claims.give_back(connection, claim, wait=60, attempt_spent=True)
    with yard.runtime.database.connect() as connection:
        assert not close_run(yard.runtime, connection, handle.id)


def test_a_run_whose_source_is_not_exhausted_is_not_closed(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    with yard.runtime.database.connect() as connection:
        assert not close_run(yard.runtime, connection, handle.id)


# A COMMIT whose answer was lost


@pytest.mark.parametrize("happened", [True, False])
def test_postgres_a_doubtful_commit_is_settled_when_the_old_session_has_ended(
    postgres_yard: Yard, happened: bool
) -> None:
    """A plain read says "not done" while the COMMIT is still on its way (reproduced)."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    (claim,) = carved(yard, handle, yard.lane(handle))
    answer: list[bool] = []

    def settle() -> None:
        with yard.runtime.database.connect() as connection:
            answer.append(settled(yard.runtime, connection, claim))

    with yard.engine.connect() as old:
        transaction = old.begin()
        assert yard.ledger.chunks.mark_done(old, claim.ref, claim.owner, 1.0)
        asking = threading.Thread(target=settle)
        asking.start()
        wait_for(lambda: blocked(yard) == 1, message="the question to wait")
        assert answer == []
        with yard.engine.connect() as plain:
            chunks = yard.ledger.database.schema.chunks
            owner = plain.execute(select(chunks.c.owner)).scalar_one()
        assert owner == claim.owner, "a plain read is deceived"
        if happened:
            transaction.commit()
        else:
            transaction.rollback()
    asking.join(timeout=60)
    assert answer == [happened]


@pytest.mark.parametrize("became", ["cancelled", "done by another attempt"])
def test_what_others_made_of_a_chunk_is_no_commit_of_ours(yard: Yard, became: str) -> None:
    """Else the lane tells of a chunk that it has not done (seen)."""
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    (claim,) = carved(yard, handle, lane)
    claims, chunks = yard.ledger.claims, yard.ledger.chunks
    with yard.transaction() as connection:
        if became == "cancelled":
            assert chunks.cancel_rest(connection, handle.id) == 1
        else:
            assert claims.give_back(connection, claim, wait=0, attempt_spent=False, lost=True)
            owner = uuid4()
            assert claims.claim_waiting(connection, handle.id, lane=1, owner=owner, limit=1)
            assert chunks.mark_done(connection, claim.ref, owner, 1.0)
    with yard.runtime.database.connect() as connection:
        assert not settled(yard.runtime, connection, claim)


def test_postgres_who_holds_a_chunk_can_be_found_and_ended(postgres_yard: Yard) -> None:
    yard = postgres_yard
    handle = yard.submit(yard.job())
    (claim,) = carved(yard, handle, yard.lane(handle))
    chunks = yard.ledger.chunks
    with yard.engine.connect() as frozen:
        chunks.begin(frozen, claim.ref)
        pid = frozen.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with yard.reading() as connection:
            names = [str(claim.ref), "4711"]
            assert chunks.holders(connection, handle.id, names, "nobody") == [pid]
            assert chunks.holders(connection, handle.id, ["4711"], "nobody") == []
            assert chunks.holders(connection, RunId(handle.id + 1), names, "nobody") == []
            chunks.end_session(connection, pid)
        wait_for(lambda: not holders(yard, handle, names), message="the session to end")
        frozen.invalidate()


def holders(yard: Yard, handle: RunHandle, names: list[str]) -> list[int]:
    with yard.reading() as connection:
        return yard.ledger.chunks.holders(connection, handle.id, names, "nobody")


@pytest.mark.parametrize("row", ["carve", "lane", "worker", "leader"])
def test_postgres_who_freezes_in_a_transaction_of_the_ledger_is_ended(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    """Whatever row he has locked, lanes or stewards would wait for him, and nobody would lead."""
    yard = postgres_yard
    assert 0 < ledger_database._FROZEN < Settings().lease_seconds * 1000
    monkeypatch.setattr(ledger_database, "_FROZEN", 200)
    handle = yard.submit(yard.job())
    crew = yard.first_crew
    worker = crew.process.worker_id
    deeds: dict[str, Callable[[Connection, Lane], object]] = {
        "carve": lambda connection, lane: yard.ledger.claims.lock(connection, handle.id),
        "lane": yard.ledger.lanes.enter,
        "worker": lambda connection, lane: yard.ledger.workers.remove(connection, worker),
        "leader": lambda connection, lane: yard.ledger.workers.lead(connection, worker, 1.0),
    }

    def deed(connection: Connection) -> None:
        deeds[row](connection, Lane(handle.id, 5, uuid4(), worker, 0, 0.0))

    def freeze() -> None:
        with yard.transaction() as frozen:
            deed(frozen)
            with yard.transaction() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '60s'"))
                deed(connection)
            frozen.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        freeze()


def test_postgres_the_time_to_freeze_ends_with_the_transaction(postgres_yard: Yard) -> None:
    """And the team's own code, in the middle of a submit, may take its time."""
    database = postgres_yard.runtime.database
    ask = text("SHOW idle_in_transaction_session_timeout")
    with database.connect() as connection:
        before = connection.execute(ask).scalar_one()
        connection.rollback()
        with database.transaction(connection):
            assert connection.execute(ask).scalar_one() != before
        with database.transaction(connection, patient=True):
            assert connection.execute(ask).scalar_one() == before
