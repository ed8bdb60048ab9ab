"""What a dead lane held is given back: the chunk in hand counts, the others do not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from breakbulk.domain.chunk import Bounds, Claim, Cut
from breakbulk.domain.failure import Failure
from breakbulk.runner import steward as stewards
from breakbulk.runner.isolate import note_failure
from breakbulk.runner.rescue import rescue
from breakbulk.runner.runtime import live_lanes
from tests.support.yard import Boom, Goods, Yard, touch

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from breakbulk import Chunk, RunHandle
    from breakbulk.ledger.lanes import Lane


def held(yard: Yard, handle: RunHandle, lane: Lane) -> list[Claim]:
    """Two chunks in the lane's hands, the first of them at work."""
    cuts = [Cut(Bounds(None, (10,)), 10), Cut(Bounds((10,), (20,)), 10)]
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        return yard.ledger.claims.carve(
            connection, handle.id, frontier, cuts, lane=lane.number, owner=uuid4(), exhausts=False
        )


def bury(yard: Yard, lane: Lane, *, at_work: bool) -> bool:
    live_lanes.remove(lane.token)
    with yard.runtime.database.connect() as connection:
        failure = Failure.of_death("process 7 died") if at_work else None
        return rescue(yard.runtime, connection, lane, why="process 7 died", failure=failure)


def states(yard: Yard) -> list[tuple[str, int, int]]:
    rows = sorted(yard.rows_of("chunks"), key=lambda row: int(row["number"]))
    return [(row["status"], row["attempt"], row["losses"]) for row in rows]


@pytest.mark.parametrize(
    ("at_work", "first"), [(True, ("waiting", 1, 0)), (False, ("waiting", 0, 1))]
)
def test_only_the_chunk_in_hand_is_to_blame(
    yard: Yard, at_work: bool, first: tuple[str, int, int]
) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    held(yard, handle, lane)
    assert bury(yard, lane, at_work=at_work)
    assert states(yard) == [first, ("waiting", 0, 0)]
    assert yard.count("lanes") == 0
    assert len(handle.failures()) == int(at_work)
    if at_work:
        assert handle.failures()[0].error == "WorkerDied"
        assert handle.failures()[0].message == "process 7 died"
    newest = handle.activity()[0]
    assert (newest.actor, newest.verb) == ("steward", "rescued")
    assert "chunks given back: 1, 2" in str(newest.detail)
    yard.settle(handle)
    yard.assert_proper(handle)


def test_a_lane_is_rescued_once(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    held(yard, handle, lane)
    assert bury(yard, lane, at_work=True)
    again = yard.lane(handle)  # the same number, taken by somebody else meanwhile
    with yard.transaction() as connection:
        claims = yard.ledger.claims.claim_waiting(
            connection, handle.id, lane=again.number, owner=uuid4(), limit=10
        )
    assert len(claims) == 2
    assert bury(yard, lane, at_work=True)
    assert {row["status"] for row in yard.rows_of("chunks")} == {"carved"}
    assert len(handle.failures()) == 1


def test_a_chunk_that_kills_its_process_each_time_is_split(yard: Yard) -> None:
    handle = yard.submit(yard.job(max_retries=1, chunk_size=25))
    cut = [Cut(Bounds(None, (25,)), 25)]
    lane = yard.lane(handle)
    with yard.transaction() as connection:
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        yard.ledger.claims.carve(
            connection, handle.id, frontier, cut, lane=0, owner=uuid4(), exhausts=True
        )
    assert bury(yard, lane, at_work=True)
    lane = yard.lane(handle)
    with yard.transaction() as connection:
        (claim,) = yard.ledger.claims.claim_waiting(
            connection, handle.id, lane=0, owner=uuid4(), limit=10
        )
    assert claim.attempt == 2
    assert bury(yard, lane, at_work=True)
    assert states(yard) == [("waiting", 2, 0)]
    yard.settle(handle)
    assert states(yard) == [("split", 3, 0), ("succeeded", 1, 0), ("succeeded", 1, 0)]
    assert len(handle.failures()) == 2
    yard.assert_proper(handle)


def test_losses_are_bounded_apart(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=25, shared=True, max_losses=2)
    handle = yard.submit(yard.job(max_retries=0))
    lane = yard.lane(handle)
    held(yard, handle, lane)
    seen = []
    for _ in range(3):
        assert bury(yard, lane, at_work=False)
        seen.append(states(yard)[0])
        lane = yard.lane(handle)
        with yard.transaction() as connection:
            yard.ledger.claims.claim_waiting(
                connection,
                handle.id,
                lane=0,
                owner=uuid4(),
                limit=10,
            )
    assert seen == [("waiting", 0, 1), ("waiting", 0, 2), ("waiting", 1, 2)]
    assert len(handle.failures()) == 1
    yard.close()


def test_claims_that_no_lane_holds_are_found(yard: Yard) -> None:
    """After a crash of the database that undid a lane's place, but not what it had claimed."""
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    held(yard, handle, lane)
    with yard.transaction() as connection:
        assert yard.ledger.claims.orphaned(connection, handle.id) == []
        yard.ledger.lanes.leave(connection, lane.token)
        orphaned = yard.ledger.claims.orphaned(connection, handle.id)
    assert [claim.ref.number for claim in orphaned] == [1, 2]


def test_a_steward_gives_back_what_no_lane_holds(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stewards, "_TIDY_EVERY", 0.0)
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    held(yard, handle, lane)
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    yard.first_crew.tick()
    assert states(yard) == [("waiting", 0, 1), ("waiting", 0, 1)]
    yard.settle(handle)
    yard.assert_proper(handle)


def test_what_a_worker_left_behind_is_taken_up(yard: Yard) -> None:
    """It has signed off, but not its lane: nobody waits for a lease that is no more."""
    handle = yard.submit(yard.job())
    leader, other = yard.crew(), yard.crew()
    held(yard, handle, yard.lane(handle, crew=other))
    with yard.runtime.database.connect() as connection:
        other.steward.leave(connection)
    leader.tick()
    assert yard.count("lanes") == 0
    assert states(yard) == [("waiting", 0, 1), ("waiting", 0, 0)]


def test_a_death_in_a_shutdown_costs_no_attempt(yard: Yard) -> None:
    """Nobody can tell who killed it: whoever shuts a worker down may be impatient."""
    handle = yard.submit(yard.job())
    crew = yard.crew()
    lane = yard.lane(handle, crew=crew)
    held(yard, handle, lane)
    live_lanes.remove(lane.token)
    crew.draining = True
    crew.tick()
    assert states(yard) == [("waiting", 0, 1), ("waiting", 0, 0)]
    assert handle.failures() == []


def test_a_failure_of_a_chunk_that_was_taken_over_is_not_its_successors(yard: Yard) -> None:
    """One that was declared dead fails in the end; another is at the chunk by then."""
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    claim, _ = held(yard, handle, lane)
    assert bury(yard, lane, at_work=False)
    with yard.transaction() as connection:
        yard.ledger.claims.claim_waiting(connection, handle.id, lane=1, owner=uuid4(), limit=10)
        note_failure(
            yard.runtime,
            connection,
            claim,
            Failure.of(Boom()),
            worker="a zombie",
            host="here",
            seconds=1.0,
        )
    assert handle.failures() == []
    assert states(yard) == [("carved", 1, 1), ("carved", 1, 0)]


def test_a_steward_finds_a_lane_whose_thread_is_over(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    crew = yard.first_crew
    lane = yard.lane(handle)
    held(yard, handle, lane)
    crew.tick()
    assert yard.count("lanes") == 1, "it lives"
    live_lanes.remove(lane.token)
    crew.tick()
    assert yard.count("lanes") == 0
    yard.settle(handle)
    yard.assert_proper(handle)


def test_postgres_a_frozen_sessions_locks_go_before_its_chunk_is_given_out(
    postgres_yard: Yard,
) -> None:
    """It would neither commit nor let go, and the server would notice only after hours."""
    yard = postgres_yard
    frozen, thaw = threading.Event(), threading.Event()
    outcome: list[str] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if not frozen.is_set():
            frozen.set()
            assert thaw.wait(60)

    handle = yard.submit(yard.job(process, chunk_size=25))
    crew = yard.crew()

    def freeze() -> None:
        crew.work()
        outcome.append("over")

    thread = threading.Thread(target=freeze)
    thread.start()
    assert frozen.wait(60)
    with yard.reading() as connection:
        (lane,) = yard.ledger.lanes.of_worker(connection, crew.process.worker_id)
    with yard.runtime.database.connect() as connection:
        assert rescue(yard.runtime, connection, lane, why="frozen")
    # Nobody holds the rows any more.
    with yard.engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '2s'"))
        connection.execute(update(Goods).values(code=None))
    thaw.set()
    thread.join(timeout=30)
    assert outcome == ["over"]
    yard.settle(handle)
    yard.assert_proper(handle)
    yard.engine.dispose()


def test_sqlite_stewards_of_one_process_do_not_judge_each_other(sqlite_url: str) -> None:
    """A process never waits for its own locks, so that they look free to itself."""
    yard = Yard(sqlite_url, rows=25)
    one, two = yard.crew(), yard.crew()
    for crew in (one, two, one, two):
        crew.tick()
    assert yard.count("workers") == 2
    yard.close()


def test_sqlite_nobody_has_to_write_to_be_alive(sqlite_url: str) -> None:
    """Four lanes with chunks of a second left no room for a single lease in twenty (reproduced)."""
    yard = Yard(sqlite_url, rows=25)
    crews = [yard.crew(), yard.crew()]
    for crew in crews:
        crew.steward._renewed_at = float("-inf")
    looked: list[int] = []

    def look_around() -> None:
        for crew in crews:
            crew.tick()
            looked.append(crew.process.pid)

    thread = threading.Thread(target=look_around, daemon=True)
    with yard.runtime.database.turn():
        thread.start()
        thread.join(60)
        seen = len(looked)
    thread.join(60)
    assert seen == 2, "a lane has the writer, and nobody waited for it"
    assert yard.count("workers") == 2
    yard.close()


def test_postgres_a_stalled_database_makes_nobody_dead(postgres_yard: Yard) -> None:
    """It stalls while a steward looks around: when it answers again, all leases have run out."""
    yard = postgres_yard
    leader, other = yard.crew(), yard.crew()
    workers = yard.ledger.database.schema.workers
    with yard.transaction() as connection:
        connection.execute(
            update(workers).values(
                healthy_since=text("clock_timestamp() - interval '1 hour'"),
                lease_until=text("clock_timestamp() - interval '1 second'"),
            )
        )
    leader.tick()
    assert yard.count("workers") == 2
    for crew in (leader, other, leader):
        crew.steward._renewed_at = float("-inf")
        crew.tick()
        assert yard.count("workers") == 2, "its term as a judge has begun anew"


def test_postgres_a_worker_is_dead_only_to_one_who_was_heard_from_himself(
    postgres_yard: Yard,
) -> None:
    """A stalled database makes everybody look dead."""
    yard = postgres_yard
    leader, other = yard.crew(), yard.crew()
    workers = yard.ledger.database.schema.workers
    handle = yard.submit(yard.job())
    past = text("clock_timestamp() - interval '1 hour'")
    with yard.transaction() as connection:
        connection.execute(
            update(workers)
            .where(workers.c.id == other.process.worker_id)
            .values(lease_until=past, healthy_since=past)
        )
    leader.tick()
    assert yard.count("workers") == 2
    with yard.transaction() as connection:
        connection.execute(
            update(workers)
            .where(workers.c.id == leader.process.worker_id)
            .values(healthy_since=past)
        )
    leader.tick()
    assert yard.count("workers") == 1
    yard.settle(handle)
    yard.assert_proper(handle)
