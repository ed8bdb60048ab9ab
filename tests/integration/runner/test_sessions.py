"""What a frozen or vanished worker leaves in the database, and how it is got rid of."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import text

from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.ledger.database import _WATCH
from breakbulk.runner import rescue as rescuing
from breakbulk.runner.rescue import rescue
from breakbulk.runner.work import connections
from tests.support.yard import touch

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import Connection

    from breakbulk import Chunk, RunHandle
    from breakbulk.domain.chunk import Claim
    from breakbulk.ledger.lanes import Lane
    from tests.support.yard import Goods, Yard


def claimed(yard: Yard, handle: RunHandle, lane: Lane) -> Claim:
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        frontier = yard.ledger.claims.frontier(connection, handle.id, lane.token)
        (claim,) = yard.ledger.claims.carve(
            connection,
            handle.id,
            frontier,
            [Cut(Bounds(None, (10,)), 10)],
            lane=lane.number,
            owner=uuid4(),
            exhausts=False,
        )
    return claim


def pid_of(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_postgres_a_lane_that_freezes_amid_a_carve_is_ended(postgres_yard: Yard) -> None:
    """No chunk's lock names its session, and it has the carve row locked."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    with connections(yard.runtime, lane) as (frozen, _):
        frozen.begin()
        yard.ledger.claims.lock(frozen, handle.id)
        with yard.runtime.database.connect() as connection:
            connection.execute(text("SET lock_timeout = '5s'"))
            connection.commit()
            assert rescue(yard.runtime, connection, lane, why="frozen")
            connection.invalidate()
        frozen.invalidate()
    assert yard.count("lanes") == 0
    yard.settle(handle)
    yard.assert_proper(handle)


def test_postgres_a_session_that_does_not_end_keeps_its_chunks(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it is there it may still commit, so nobody else is given what it has."""
    monkeypatch.setattr(rescuing, "_SESSION_PATIENCE", 0.1)
    yard = postgres_yard
    handle = yard.submit(yard.job())
    lane = yard.lane(handle)
    claim = claimed(yard, handle, lane)
    told: list[int] = []
    with yard.engine.connect() as frozen, yard.runtime.database.connect() as connection:
        yard.ledger.chunks.begin(frozen, claim.ref)
        with monkeypatch.context() as deaf:
            deaf.setattr(yard.ledger.chunks, "end_session", lambda _, pid: told.append(pid))
            assert not rescue(yard.runtime, connection, lane, why="frozen")
        assert told == [pid_of(frozen)]
        assert yard.count("lanes") == 1
        with yard.reading() as other:
            assert yard.ledger.claims.owns(other, claim)
        assert rescue(yard.runtime, connection, lane, why="frozen")
        frozen.invalidate()
    assert yard.count("lanes") == 0
    yard.settle(handle)
    yard.assert_proper(handle)


def test_postgres_the_server_watches_a_lanes_client(postgres_yard: Yard) -> None:
    """It would notice that a client has vanished only after hours."""
    yard = postgres_yard
    seen: list[dict[str, str]] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        asked = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
        found = chunk.session.execute(asked, {"names": list(_WATCH)})
        seen.append({row.name: row.setting for row in found})

    yard.assert_proper(yard.run(process))
    assert len(_WATCH) == 5
    assert all(settings == _WATCH for settings in seen)
