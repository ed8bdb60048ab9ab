"""A lane that is over, but cannot say so: its process lives, so nobody else would ever know."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from breakbulk.ledger import Database
from tests.support.waiting import wait_for
from tests.support.yard import Goods, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from breakbulk import Chunk, RunHandle


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is set the ledger's database refuses connections."""
    away = threading.Event()
    connect = Database.connect

    @contextmanager
    def refusing(database: Database) -> Iterator[Connection]:
        if away.is_set():
            raise OperationalError("SELECT 1", {}, Exception("connection refused"))
        with connect(database) as connection:
            yield connection

    monkeypatch.setattr(Database, "connect", refusing)
    yield away
    away.clear()
    wait_for(lambda: not signing_off(), message="the lanes to be signed off")


def signing_off() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("breakbulk-sign-off-")]


def assert_signed_off_once_it_is_back(yard: Yard, handle: RunHandle, away: threading.Event) -> None:
    assert len(signing_off()) == 1
    assert yard.count("lanes") == 1
    assert yard.rows_of("chunks", "status = 'carved'")
    away.clear()
    # No steward has a hand in it.
    wait_for(lambda: not yard.count("lanes"), message="the lane to be signed off")
    assert not yard.rows_of("chunks", "status = 'carved'")
    assert yard.rows_of("chunks", "status = 'waiting'")
    yard.settle(handle)
    yard.assert_proper(handle)
    assert handle.failures() == []


def test_an_exit_while_the_database_is_away(yard: Yard, away: threading.Event) -> None:
    gone: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if not gone:
            gone.append(chunk.number)
            away.set()
            raise SystemExit

    handle = yard.submit(yard.job(process, max_retries=0))
    crew = yard.crew()
    dying = replace(crew, process=replace(crew.process, stopping=lambda: bool(gone)))
    with pytest.raises(SystemExit):
        dying.work()
    assert_signed_off_once_it_is_back(yard, handle, away)


def test_postgres_a_connection_that_is_cut_in_a_shutdown(
    postgres_yard: Yard, away: threading.Event
) -> None:
    yard = postgres_yard
    gone: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if not gone:
            gone.append(chunk.number)
            pid = chunk.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with yard.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            away.set()
            chunk.session.execute(text("SELECT 1"))

    handle = yard.submit(yard.job(process, max_retries=0))
    crew = yard.crew()
    dying = replace(crew, process=replace(crew.process, stopping=lambda: bool(gone)))
    assert not dying.work()
    assert_signed_off_once_it_is_back(yard, handle, away)
    yard.engine.dispose()
