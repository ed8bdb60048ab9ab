"""Lock first, then ask: what becomes of those who come while another has the carve row locked."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from breakbulk import RunStatus, Snooze
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.ledger.claims import Claims
from breakbulk.runner.carve import Carved, Ground, carve
from breakbulk.runner.finish import close_run
from breakbulk.runner.hand import Hand, Slice
from breakbulk.runner.origin import source_of
from tests.support.waiting import wait_for
from tests.support.yard import failing, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import Chunk, RunHandle
    from breakbulk.domain.chunk import RunId
    from breakbulk.ledger.lanes import Lane
    from tests.support.yard import Goods, Yard


class Other:
    """Somebody who begins an act while we have something locked, and by then waits for it."""

    def __init__(self, yard: Yard, act: Callable[[], Any]) -> None:
        self._results: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(act,))
        self._thread.start()
        wait_for(lambda: self._results or _waits_for_lock(yard), message="the other one to wait")
        assert not self._results, "it did not wait"

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            self._results.append(act())
        except Exception as error:  # noqa: BLE001  (the test judges it)
            self._results.append(error)

    def outcome(self) -> Any:
        """What it gave, or the error that it raised."""
        self._thread.join(timeout=60)
        return self._results[0]


def _waits_for_lock(yard: Yard) -> bool:
    with yard.engine.connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        return bool(connection.execute(query).scalar_one())


def try_to_carve(yard: Yard, handle: RunHandle, lane: Lane, *, wait: bool = True) -> Carved:
    run = handle.record()
    spec = yard.bulk.jobs.get(run.job)
    source = source_of(yard.runtime, spec, spec.build(run.parameters), run)
    with yard.runtime.database.connect() as connection:
        return carve(
            yard.runtime,
            connection,
            connection,
            run=run,
            lane=lane,
            source=source,
            chunks=1,
            owner=uuid4(),
            wait=wait,
        )


def insert_chunk(
    yard: Yard, connection: Connection, handle: RunHandle, lane: Lane, upto: int
) -> None:
    """Carve everything up to a key, which is the last one if it is 25, without committing it."""
    yard.ledger.claims.lock(connection, handle.id)
    frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
    yard.ledger.claims.carve(
        connection,
        handle.id,
        frontier,
        [Cut(Bounds(None, (upto,)), upto)],
        lane=lane.number,
        owner=uuid4(),
        exhausts=upto == 25,
    )


def test_postgres_who_carves_meanwhile_finds_that_the_frontier_has_moved(
    postgres_yard: Yard,
) -> None:
    """Both have walked from the same frontier; the second must not insert what it found."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    with yard.transaction() as connection:
        insert_chunk(yard, connection, handle, lane, 10)
        second = Other(yard, lambda: try_to_carve(yard, handle, other))
    assert second.outcome() == Carved(ground=Ground.MOVED)
    assert [row["number"] for row in yard.rows_of("chunks")] == [1]


def test_postgres_in_a_crowd_nobody_waits_for_what_will_have_moved(postgres_yard: Yard) -> None:
    """Behind others in line for the lock a lane would walk again and again for nothing."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    with yard.transaction() as connection:
        insert_chunk(yard, connection, handle, lane, 10)
        assert try_to_carve(yard, handle, other, wait=False) == Carved(ground=Ground.MOVED)
    carved = try_to_carve(yard, handle, other, wait=False)
    assert [claim.ref.number for claim in carved.claims] == [2]


def test_postgres_who_claims_meanwhile_finds_nothing_waiting(postgres_yard: Yard) -> None:
    """The waiting chunk that it has seen is another's by the time it has the lock."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane, other = yard.lane(handle), yard.lane(handle, 1)
    (claim,) = try_to_carve(yard, handle, lane).claims
    claims = yard.ledger.claims
    with yard.transaction() as connection:
        claims.give_back(connection, claim, wait=0, attempt_spent=True)

    def claim_too() -> bool:
        piece = Slice(float("inf"), yard.first_crew.process)
        hand = Hand(yard.runtime, other, handle.record(), piece)
        with yard.runtime.database.connect() as connection:
            return hand._claim_waiting(connection, 1)

    with yard.transaction() as connection:
        claims.lock(connection, handle.id)
        (first,) = claims.claim_waiting(
            connection, handle.id, lane=lane.number, owner=uuid4(), limit=1
        )
        second = Other(yard, claim_too)
    assert second.outcome() is False
    with yard.reading() as connection:
        assert claims.owns(connection, first)


def test_postgres_a_run_is_not_closed_by_what_was_so_before_the_wait(postgres_yard: Yard) -> None:
    """The last chunks are carved while it waits (reproduced).

    Asked before the wait, or inside the statement that waits, no chunk is unfinished; and asked
    afterwards, the source is exhausted.
    """
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)

    def close() -> bool:
        with yard.runtime.database.connect() as connection:
            return close_run(yard.runtime, connection, handle.id)

    with yard.transaction() as connection:
        insert_chunk(yard, connection, handle, lane, 25)
        second = Other(yard, close)
    assert second.outcome() is False
    assert handle.status() is RunStatus.RUNNING


def test_postgres_a_foreign_key_never_waits_for_a_carve(postgres_yard: Yard) -> None:
    """Whatever points to a run, a team's own table perhaps, is written while others carve."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    carves = yard.ledger.database.schema.carves.fullname
    with yard.engine.begin() as connection:
        connection.execute(
            text(f"CREATE TABLE about_runs (run bigint NOT NULL REFERENCES {carves})")
        )
    try:
        with yard.transaction() as carving:
            yard.ledger.claims.lock(carving, handle.id)
            with yard.engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '1s'"))
                connection.execute(text(f"INSERT INTO about_runs VALUES ({handle.id})"))
    finally:
        with yard.engine.begin() as connection:
            connection.execute(text("DROP TABLE about_runs"))


def test_postgres_a_paused_run_gives_out_no_waiting_chunk(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody pauses it when a lane has seen that a chunk waits, and has not claimed it yet."""
    yard = postgres_yard
    calls: list[int] = []
    paused: list[RunStatus] = []
    any_waiting = Claims.any_waiting

    def pausing(self: Claims, connection: Connection, run_id: RunId) -> bool:
        found = any_waiting(self, connection, run_id)
        if found and not paused:
            paused.append(handle.pause())
        return found

    def process(chunk: Chunk[Goods]) -> None:
        calls.append(chunk.number)
        touch(chunk)
        if len(calls) == 1:
            raise Snooze(0)

    monkeypatch.setattr(Claims, "any_waiting", pausing)
    handle = yard.submit(yard.job(process))
    yard.settle(handle)
    assert paused == [RunStatus.PAUSING]
    assert (handle.status(), calls) == (RunStatus.PAUSED, [1])
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_postgres_what_was_tried_before_is_claimed_durably(postgres_yard: Yard) -> None:
    """A crash of the database must not undo that an attempt is on record."""
    yard = postgres_yard
    seen: list[str] = []

    def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE breakbulk.chunks") and "attempt=" in statement:
            cursor: Any = connection.connection.cursor()
            seen.append(cursor.execute("SHOW synchronous_commit").fetchone()[0])

    event.listen(yard.engine, "before_cursor_execute", note)
    try:
        handle = yard.run(failing(1, number=1), max_retries=1)
    finally:
        event.remove(yard.engine, "before_cursor_execute", note)
    yard.assert_proper(handle)
    assert seen == ["on", "on"], "given back, and claimed again"


def test_sqlite_who_is_going_to_write_keeps_others_from_it(sqlite_yard: Yard) -> None:
    """One who has read, and writes when another has written meanwhile, is refused by SQLite."""
    yard = sqlite_yard
    handle = yard.submit(yard.job())
    outsider = sqlite3.connect(str(yard.engine.url.database), timeout=0)
    with yard.transaction() as connection:
        assert yard.ledger.runs.status(connection, handle.id) is RunStatus.RUNNING
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outsider.execute("UPDATE goods SET code = 'changed'")
        yard.ledger.runs.move(connection, handle.id, RunStatus.HELD, actor="a test")
    outsider.close()
