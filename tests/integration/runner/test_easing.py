"""Chunks that size themselves become smaller where they and the application wait for each other.

Nobody has a ``lock_timeout`` here: all of them wait for as long as it takes.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from breakbulk import RunStatus
from breakbulk.domain.chunk import RunId
from breakbulk.domain.sizing import Size
from breakbulk.ledger.blocking import lock_waits
from breakbulk.ledger.lanes import Lane
from breakbulk.runner import easing
from breakbulk.runner.throttling import Throttling
from tests.support.waiting import wait_for
from tests.support.yard import Crew, Goods, Yard, touch, wipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from breakbulk import Chunk, RunHandle

_ROWS = 200
#: Seconds; whoever waits for longer than that has waited for long.
_TARGET = 0.05
_UPDATE = text("UPDATE goods SET version = version + 0 WHERE id = 1")


@pytest.fixture
def field(postgres_ground: Engine) -> Iterator[Yard]:
    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=2 * _ROWS, shared=True)
    yield yard
    yard.close()


def submit(yard: Yard, process: Callable[[Any], object] = touch, **options: Any) -> RunHandle:
    """A run whose first chunk has all the rows that a test needs in it."""
    options = {"chunk_size": "auto", "chunk_seconds": _TARGET, **options}
    handle = yard.submit(yard.job(process, **options))
    if handle.record().chunk_seconds is not None:
        with yard.transaction() as connection:
            known = Size(_ROWS, told=_ROWS)
            yard.ledger.sizes.record(connection, handle.id, known, detail="a test", actor="a test")
    return handle


def look(yard: Yard) -> None:
    with yard.runtime.database.connect() as connection:
        Throttling(yard.runtime).look(connection)


def braked(yard: Yard) -> list[dict[str, Any]]:
    return [row for row in yard.rows_of("sizes") if row["cause"] == "lock"]


def waiting(yard: Yard) -> bool:
    """Whether a session of the test's database waits for a lock."""
    with yard.engine.connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(connection.execute(query).scalar_one())


@contextmanager
def in_background(act: Callable[[], object]) -> Iterator[None]:
    """Do something meanwhile; it is to come to an end by itself afterwards."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=60)
    assert not thread.is_alive()


@contextmanager
def chunk_that_waits(yard: Yard) -> Iterator[None]:
    """The application has a row of the first chunk's, and the chunk waits for it."""
    crew = yard.first_crew
    with yard.engine.connect() as holder:
        holder.execute(_UPDATE)
        with in_background(crew.work):
            try:
                wait_for(lambda: waiting(yard), message="the chunk to wait")
                yield
            finally:
                holder.rollback()


def until_braked(yard: Yard) -> dict[str, Any]:
    def looked() -> list[dict[str, Any]]:
        look(yard)
        return braked(yard)

    (row,) = wait_for(looked, message="somebody to see that it takes long")
    return row


def test_a_chunk_that_waits_for_the_application(field: Yard) -> None:
    handle = submit(field)
    field.crew()
    with chunk_that_waits(field):
        row = until_braked(field)
        look(field)
        assert len(braked(field)) == 1, "of one chunk's wait once"
    assert (row["rows"], row["ceiling"], row["number"]) == (_ROWS // 2, _ROWS // 2, 1)
    assert "chunk 1: it has waited " in row["detail"]
    assert row["detail"].endswith(" s for a lock that the application holds")
    (note,) = (one for one in handle.activity() if "lock" in (one.detail or ""))
    assert (note.actor, note.verb) == ("steward", "resized")
    field.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    sizes = [chunk.rows for chunk in handle.chunks(limit=1_000)]
    assert sizes[0] == _ROWS
    assert max(sizes[1:]) <= _ROWS // 2
    assert not handle.failures(), "nothing has failed, and so nothing is tried again"


def test_the_application_that_waits_for_a_chunk(field: Yard) -> None:
    there, go_on = threading.Event(), threading.Event()

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if chunk.number == 1:
            there.set()
            assert go_on.wait(timeout=60)

    def write() -> None:
        with field.engine.begin() as connection:
            connection.execute(_UPDATE)

    handle = submit(field, process)
    crew = field.crew()
    with in_background(crew.work):
        try:
            assert there.wait(timeout=60)
            with in_background(write):
                try:
                    wait_for(lambda: waiting(field), message="the application to wait")
                    row = until_braked(field)
                finally:
                    go_on.set()
        finally:
            go_on.set()
    assert (row["rows"], row["ceiling"]) == (_ROWS // 2, _ROWS // 2)
    assert "chunk 1: the application has waited " in row["detail"]
    field.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED


def test_a_moment_is_not_long(field: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easing, "_LONG", 3_600.0)
    handle = submit(field, chunk_seconds=3_600)
    field.crew()
    with chunk_that_waits(field):
        look(field)
    assert not braked(field)
    field.settle(handle)
    field.assert_proper(handle)


def somebody_looks(crew: Crew) -> bool:
    crew.tick()
    return crew.steward.throttles


def test_nobody_looks_for_runs_that_need_it_not(field: Yard, sqlite_yard: Yard) -> None:
    crew = field.crew()
    fixed = submit(field, chunk_size=_ROWS, chunk_seconds=None)
    assert not somebody_looks(crew)
    with chunk_that_waits(field):
        look(field)
    assert not field.rows_of("sizes")
    field.settle(fixed)
    handle = submit(field)
    assert somebody_looks(crew)
    handle.pause()
    assert not somebody_looks(crew), "while it is paused nobody waits for it"
    handle.cancel()
    # One writer at a time: there a chunk waits for its turn, and is not too large for that.
    sqlite_yard.submit(sqlite_yard.job(chunk_size="auto"))
    assert not somebody_looks(sqlite_yard.crew())


@contextmanager
def session_that_waits(yard: Yard, *, holder: str | None, named: bool) -> Iterator[Connection]:
    """A lane's session waits for what another session holds; a third one looks on.

    Args:
        holder: the name of the other, if it is a lane's.
        named: it is at a chunk.
    """
    database, label = yard.runtime.database, _lane().label
    with (
        database.connect() as other,
        database.connect() as lane,
        database.connect() as third,
        database.watched(lane, label),
        database.watched(other, holder or "somebody"),
    ):
        other.execute(text("SELECT pg_advisory_xact_lock(4711)"))

        def wait() -> None:
            if named:
                lane.execute(text("SELECT pg_advisory_xact_lock(4712)"))
            lane.execute(text("SELECT pg_advisory_xact_lock(4711)"))

        with in_background(wait):
            try:
                wait_for(lambda: waiting(yard), message="the lane to wait")
                yield third
            finally:
                other.rollback()


def _lane() -> Lane:
    return Lane(RunId(0), 0, uuid4(), uuid4(), 1, 0.0)


@pytest.mark.parametrize(
    ("by_lane", "named", "asks", "found"),
    [
        (False, True, True, 1),
        (True, True, True, 0),
        (False, False, True, 0),
        # Where the rows are in another database than the ledger, nothing else is there to wait for.
        (False, False, False, 1),
    ],
    ids=["the application", "another lane", "between chunks", "another database"],
)
def test_whose_waits_count(field: Yard, by_lane: bool, named: bool, asks: bool, found: int) -> None:
    holder = _lane().label if by_lane else None
    with session_that_waits(field, holder=holder, named=named) as third:
        assert len(lock_waits(third, named=asks)) == found
