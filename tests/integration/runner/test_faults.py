"""What is nobody's fault, and the database's above all, costs no attempt."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, text, update

from breakbulk import RunStatus
from tests.support.preparing import unprepared
from tests.support.waiting import wait_for
from tests.support.yard import Goods, Yard, failing, together, touch, wipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from breakbulk import Chunk


def test_postgres_a_deadlock_costs_no_attempt(postgres_yard: Yard) -> None:
    """A real one: the chunk and somebody else each want the row that the other has locked."""
    yard = postgres_yard
    tries: list[int] = []
    mine, theirs = threading.Event(), threading.Event()

    def process(chunk: Chunk[Goods]) -> None:
        if chunk.number != 1:
            return touch(chunk)
        tries.append(chunk.attempt)
        # The chunk is the one that is chosen to fail: it begins to wait last and looks first.
        chunk.session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        chunk.session.execute(update(Goods).where(Goods.id == 1).values(version=1))
        mine.set()
        assert theirs.wait(60)
        chunk.session.execute(
            update(Goods).where(chunk.where, Goods.id > 1).values(version=Goods.version + 1)
        )
        return None

    def other() -> None:
        with yard.engine.begin() as connection:
            connection.execute(text("SET LOCAL deadlock_timeout = '60s'"))
            connection.execute(update(Goods).where(Goods.id == 5).values(code="locked"))
            assert mine.wait(60)
            threading.Thread(target=let_go).start()
            connection.execute(update(Goods).where(Goods.id == 1).values(code="both"))

    def let_go() -> None:
        wait_for(lambda: waits_for_lock(yard), message="the other to wait for the chunk")
        theirs.set()

    handle = yard.submit(yard.job(process, max_retries=0))
    results = together(other, yard.crew().work)
    assert not [one for one in results if isinstance(one, Exception)], results
    yard.settle(handle)
    yard.assert_proper(handle)
    assert tries == [1, 1], "the same attempt, once more"
    assert handle.failures() == []


def waits_for_lock(yard: Yard) -> bool:
    with yard.engine.connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        return bool(connection.execute(query).scalar_one())


def test_postgres_a_ledger_that_keeps_a_lane_waiting_is_asked_again(postgres_url: str) -> None:
    """The team's ``statement_timeout`` is meant for the team's statements, and nobody's fault."""
    impatient = create_engine(postgres_url)
    yard = Yard(impatient, rows=25, slice_seconds=1.0)
    refusals, blocking = list[str](), list[threading.Thread]()

    @event.listens_for(impatient, "begin")
    def hurry(connection: Connection) -> None:
        # Only where it is asked for again: on a busy machine anything may take longer than that.
        if threading.current_thread() in blocking:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 50")

    @event.listens_for(impatient, "handle_error")
    def note(context: Any) -> None:
        refusals.append(context.original_exception.sqlstate)

    handle = yard.submit(yard.job())
    crew, blocker = yard.crew(), create_engine(postgres_url)
    thread = threading.Thread(target=crew.work, daemon=True)
    blocking.append(thread)
    with blocker.begin() as connection:
        # Who carves goes round it; who leaves has to wait for it.
        carves = yard.ledger.database.schema.carves.fullname
        connection.execute(text(f"SELECT * FROM {carves} FOR UPDATE"))
        thread.start()
        wait_for(lambda: refusals.count("57014") > 2, message="the lane to be refused")
        blocking.clear()
    thread.join(60)
    assert not thread.is_alive()
    yard.settle(handle)
    yard.assert_proper(handle)
    assert "held" not in [one.verb for one in handle.activity()]
    yard.close()
    blocker.dispose()


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_postgres_what_does_not_go_away_holds_the_run_in_the_end(
    postgres_ground: Engine, state: str
) -> None:
    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=5, shared=True, transient_seconds=0)

    def process(chunk: Chunk[Goods]) -> None:
        raising = f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END $$"
        chunk.session.execute(text(raising))

    handle = yard.run(process, max_retries=1)
    assert handle.status() is RunStatus.HELD, "nobody splits a chunk for what is not its fault"
    assert "does not get on" in str(handle.record().reason)
    assert len(handle.failures()) == 2
    assert handle.errors() == []
    yard.close()


@pytest.mark.parametrize("fault", ["deadlock", "connection"])
def test_postgres_trouble_that_outlasts_a_lane_is_bounded_all_the_same(
    postgres_ground: Engine, fault: str
) -> None:
    """No lane stays long enough to lose its patience, so each tells the next what it has spent."""
    wipe(postgres_ground)
    knobs: dict[str, Any] = {"transient_seconds": 2.5, "slice_seconds": 1.0}
    yard = Yard(postgres_ground, rows=25, shared=True, **knobs)
    tries: Counter[int] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        tries[chunk.number] += 1
        if chunk.number == 2 and fault == "deadlock":
            raising = "DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"
            chunk.session.execute(text(raising))
        elif chunk.number == 2:
            chunk.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    handle = yard.run(process, max_retries=0)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert str(record.reason).startswith("chunk 2 does not get on: ")
    assert len(handle.failures()) == 1
    assert list(yard.versions().values()) == [1] * 10 + [0] * 10 + [1] * 5
    assert 3 <= tries[2] < 25, "again and again, but not as fast as it goes"
    assert (tries[1], tries[3]) == (1, 1)
    yard.close()
    postgres_ground.dispose()


@pytest.mark.parametrize("state", ["25006", "53100", "53300"])
def test_postgres_a_database_that_takes_no_writes_holds_the_run(
    postgres_yard: Yard, state: str
) -> None:
    yard = postgres_yard
    broken = [True]

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if broken:
            raising = f"DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '{state}'; END $$"
            chunk.session.execute(text(raising))

    handle = yard.run(process, max_retries=0)
    assert handle.status() is RunStatus.HELD
    assert "the database takes no writes" in str(handle.record().reason)
    assert [chunk.attempt for chunk in handle.chunks()] == [0]
    broken.clear()
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_postgres_a_connection_that_is_cut_costs_no_attempt(postgres_yard: Yard) -> None:
    yard = postgres_yard
    cut: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if chunk.number == 2 and len(cut) < 2:
            cut.append(chunk.attempt)
            pid = chunk.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with yard.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            chunk.session.execute(text("SELECT 1"))

    handle = yard.run(process, max_retries=0)
    yard.assert_proper(handle)
    assert cut == [1, 1]
    assert handle.failures() == []
    yard.engine.dispose()


@pytest.mark.parametrize("happened", [True, False])
def test_postgres_a_connection_that_is_cut_in_commit_is_settled(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    from psycopg import OperationalError
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    yard = postgres_yard
    commit: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit
    armed: list[bool] = []

    def do_commit(dialect: Any, connection: Any) -> None:
        if not armed:
            commit(dialect, connection)
            return
        armed.pop()
        driver = connection.driver_connection
        if happened:
            commit(dialect, connection)
        driver.close()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(yard.engine.dialect, "do_commit", do_commit.__get__(yard.engine.dialect))
    tries: Counter[int] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        tries[chunk.number] += 1
        touch(chunk)
        if chunk.number == 2 and tries[2] == 1:
            armed.append(True)

    # In one message with the mark it is another matter: tests/integration/ledger/test_lastword.py.
    with unprepared(yard.engine):
        handle = yard.run(process, max_retries=0)
    yard.assert_proper(handle)
    assert tries[2] == (1 if happened else 2)
    assert not armed
    assert handle.failures() == []
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 25


@pytest.fixture
def small_pool(database_url: str) -> Iterator[Yard]:
    engine = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=60)
    yard = Yard(engine, rows=25)
    yield yard
    yard.close()


def test_one_connection_is_enough(small_pool: Yard) -> None:
    yard = small_pool
    yard.assert_proper(yard.run(failing(1)))

    def process(chunk: Chunk[Goods]) -> None:
        chunk.session.commit()

    assert yard.run(process).status() is RunStatus.HELD
