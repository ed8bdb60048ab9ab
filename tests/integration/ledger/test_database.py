"""The way to the database, however the application gives it, and across threads and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.orm import scoped_session, sessionmaker

from breakbulk import Breakbulk
from breakbulk.errors import ConfigurationError, SecondDatabase
from breakbulk.ledger import Database
from breakbulk.ledger.sql import clock, seconds_between
from tests.support.yard import Yard, failing, together

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).parents[3]

TARGETS: dict[str, Callable[[str], Any]] = {
    "URL": lambda url: url,
    "Engine": create_engine,
    "sessionmaker": lambda url: sessionmaker(create_engine(url)),
    "scoped_session": lambda url: scoped_session(sessionmaker(create_engine(url))),
    "callable giving a URL": lambda url: lambda: url,
    "callable giving an Engine": lambda url: lambda: create_engine(url),
    "callable giving a sessionmaker": lambda url: lambda: sessionmaker(create_engine(url)),
}


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
def test_a_database_may_be_given_as(clean_engine: Engine, make: Callable[[str], Any]) -> None:
    url = clean_engine.url.render_as_string(hide_password=False)
    yard = Yard(make(url), rows=25, shared=True)
    yard.assert_proper(yard.run())
    yard.close()
    yard.engine.dispose()


def test_a_callable_is_asked_once_in_a_process_and_late() -> None:
    asked: list[int] = []

    def target() -> str:
        asked.append(1)
        return "sqlite://"

    database = Database(target)
    assert asked == []
    for _ in range(3):
        assert database.engine.dialect.name == "sqlite"
    assert asked == [1]
    database.forget()
    assert database.engine.dialect.name == "sqlite"
    assert asked == [1, 1]
    database.dispose()


def test_a_callable_is_asked_once_by_all_threads_of_a_process() -> None:
    asked: list[int] = []
    all_here, second_inside = threading.Barrier(8), threading.Barrier(2)

    def target() -> str:
        asked.append(1)
        with suppress(threading.BrokenBarrierError):
            second_inside.wait(timeout=0.2)
        return "sqlite://"

    database = Database(target)

    def need() -> Engine:
        all_here.wait()
        return database.engine

    with ThreadPoolExecutor(8) as threads:
        engines = {id(future.result()) for future in [threads.submit(need) for _ in range(8)]}
    assert len(engines) == 1
    assert asked == [1]
    database.dispose()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mysql://localhost/shop", "no ledger for mysql: use PostgreSQL, or SQLite"),
        ("not a url", "is not a URL, an Engine, a sessionmaker or a callable"),
        (None, "is not a URL"),
        (5, "is not a URL"),
        (sessionmaker(), "The sessionmaker has no engine"),
    ],
)
def test_what_is_no_database_is_told_in_one_sentence(target: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Breakbulk(target).runtime.database.engine  # noqa: B018


def test_a_second_database_needs_a_word(database_url: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.sqlite'}"
    with pytest.raises(SecondDatabase, match="at_least_once=True"):
        Breakbulk(database_url, data=other)
    assert Breakbulk(database_url, data=other, at_least_once=True).runtime.at_least_once
    assert not Breakbulk(database_url, data=database_url).runtime.at_least_once


# Isolation levels


@pytest.mark.parametrize(
    ("level", "how"),
    [("REPEATABLE READ", "engine"), ("SERIALIZABLE", "engine"), ("SERIALIZABLE", "options")],
)
def test_postgres_the_ledger_reads_what_is_committed_whatever_the_engine_says(
    postgres_url: str, level: Any, how: str
) -> None:
    if how == "engine":
        engine = create_engine(postgres_url, isolation_level=level)
    else:
        engine = create_engine(postgres_url).execution_options(isolation_level=level)
    yard = Yard(engine, rows=25)
    show = text("SHOW transaction_isolation")
    for _ in range(2):
        with yard.transaction() as connection:
            assert connection.execute(show).scalar_one() == "read committed"
        with yard.reading() as connection:
            assert connection.execute(show).scalar_one() == "read committed"
    with engine.connect() as connection:
        assert connection.execute(show).scalar_one() == level.lower(), "the user's own stays"
    levels: set[str] = set()

    def process(chunk: Any) -> None:
        levels.add(chunk.session.execute(show).scalar_one())
        for row in chunk:
            row.version += 1

    yard.assert_proper(yard.run(process))
    assert levels == {level.lower()}
    yard.close()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_postgres_lanes_at_once_on_a_strict_engine(postgres_url: str, level: Any) -> None:
    yard = Yard(create_engine(postgres_url, isolation_level=level), rows=200, slice_seconds=5)
    crews = [yard.crew(slots=3) for _ in range(3)]
    handle = yard.submit(yard.job(chunk_size=5))
    results = together(*(crew.work for crew in crews))
    assert not [one for one in results if isinstance(one, Exception)], results
    yard.settle(handle)
    yard.assert_proper(handle)
    assert handle.failures() == []
    yard.close()


@pytest.mark.parametrize("how", ["engine", "options"])
def test_autocommit_is_refused(database_url: str, how: str) -> None:
    """Each statement would commit by itself, and a chunk would be no transaction."""
    if how == "engine":
        engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    else:
        engine = create_engine(database_url).execution_options(isolation_level="AUTOCOMMIT")
    database = Database(engine)
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"), database.connect():
        pass
    engine.dispose()


def test_an_autocommit_engine_beside_ours_does_no_harm(database_url: str) -> None:
    """They share one pool; the level is the connection's only while it is checked out."""
    engine = create_engine(database_url, pool_size=1)
    yard = Yard(engine, rows=25)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("SELECT 1"))
    yard.assert_proper(yard.run())
    yard.close()


def test_a_transaction_of_ours_is_rolled_back_by_an_error(yard: Yard) -> None:
    schema = yard.ledger.database.schema
    with suppress(RuntimeError), yard.transaction() as connection:
        connection.execute(schema.leader.delete())
        raise RuntimeError
    assert yard.count("leader") == 1


def test_postgres_what_is_not_durable_at_once_is_so_for_its_transaction_only(
    postgres_yard: Yard,
) -> None:
    show = text("SHOW synchronous_commit")
    database = postgres_yard.runtime.database
    with database.connect() as connection:
        with database.transaction(connection, durable=False):
            assert connection.execute(show).scalar_one() == "off"
        with database.transaction(connection):
            assert connection.execute(show).scalar_one() == "on"


@pytest.mark.parametrize("threshold", [0, None])
def test_postgres_work_goes_on_whenever_the_team_has_statements_prepared(
    postgres_url: str, threshold: int | None
) -> None:
    """At once, or never, as behind a pooler: at once, no two commands go in one statement."""
    engine = create_engine(postgres_url, connect_args={"prepare_threshold": threshold})
    yard = Yard(engine, rows=25)
    yard.assert_proper(yard.run(failing(1), retry_delay=0))
    yard.close()


def test_postgres_a_lanes_settings_do_not_stay_with_the_pool(postgres_url: str) -> None:
    engine = create_engine(postgres_url, pool_size=1, max_overflow=0)
    yard = Yard(engine, rows=25)
    names = ("tcp_user_timeout", "client_connection_check_interval", "application_name")

    def settings() -> list[str]:
        with engine.connect() as connection:
            return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]

    before = settings()
    seen: list[str] = []

    def process(chunk: Any) -> None:
        seen.append(chunk.session.execute(text("SHOW application_name")).scalar_one())
        for row in chunk:
            row.version += 1

    yard.assert_proper(yard.run(process))
    assert settings() == before
    assert all(name.startswith("breakbulk lane ") for name in seen)
    yard.close()


@pytest.mark.parametrize("threshold", [0, 5, None])
def test_postgres_a_lane_leaves_the_connection_that_it_was_lent_as_it_was(
    postgres_url: str, threshold: int | None
) -> None:
    """It was closed after each slice where each statement is prepared, and lost the team's name."""
    engine = create_engine(postgres_url, connect_args={"prepare_threshold": threshold})
    database = Database(engine)

    @event.listens_for(engine, "connect")
    def name(connection: Any, _record: Any) -> None:
        connection.execute("SET application_name = 'shop'")
        connection.commit()

    def seen() -> tuple[Any, ...]:
        with database.connect() as connection:
            facts = "SHOW application_name", "SHOW tcp_user_timeout", "SELECT pg_backend_pid()"
            return tuple(connection.execute(text(one)).scalar_one() for one in facts)

    before = seen()
    assert before[0] == "shop"
    for _ in range(7):
        with database.connect() as connection, database.watched(connection, "breakbulk lane 7"):
            assert connection.execute(text("SHOW application_name")).scalar() == "breakbulk lane 7"
        assert seen() == before
    engine.dispose()


# Time


def test_the_clock_is_the_databases_and_goes_on(yard: Yard) -> None:
    with yard.reading() as connection:
        first = connection.execute(select(clock())).scalar_one()
        later = connection.execute(select(clock(90.5))).scalar_one()
        apart = connection.execute(select(seconds_between(clock(-2.0), clock(3.0)))).scalar_one()
    assert first.tzinfo is not None
    assert 90 < (later - first).total_seconds() < 92
    assert apart == pytest.approx(5.0, abs=0.1)


def test_postgres_the_clock_is_not_the_time_the_transaction_began(postgres_yard: Yard) -> None:
    with postgres_yard.reading() as connection:
        first = connection.execute(select(clock())).scalar_one()
        connection.execute(text("SELECT pg_sleep(0.01)"))
        assert connection.execute(select(clock())).scalar_one() > first


# The seal


def test_a_transaction_is_known_by_its_seal(clean_engine: Engine) -> None:
    database = Database(clean_engine)
    with clean_engine.connect() as connection:
        database.begin_writing(connection)
        seal = database.seal(connection)
        connection.execute(text("SELECT 1"))
        assert database.unbroken(connection, seal)
        connection.rollback()
        database.begin_writing(connection)
        seal = database.seal(connection)
        driver: Any = connection.connection.driver_connection
        driver.commit()
        driver.execute("CREATE TABLE IF NOT EXISTS sealed (id integer)")
        assert not database.unbroken(connection, seal)


# Forks

_FORK = """
import os, sys
from sqlalchemy import create_engine, event, text
from breakbulk.ledger import Database

url = sys.argv[1]
for target in (url, create_engine(url), lambda: url):
    database = Database(target)
    with database.reading() as connection:
        with database.reading() as idle:  # in the pool from now on, for the child to take
            parents = [one.connection.driver_connection for one in (connection, idle)]
        connection.execute(text("SELECT 1"))
        pid = os.fork()
        if pid == 0:
            try:
                with database.reading() as own:
                    assert own.connection.driver_connection not in parents
                    assert own.execute(text("SELECT 2")).scalar_one() == 2
                with database.turn():
                    pass
                status = 0
            except BaseException as error:
                print("child:", repr(error), flush=True)
                status = 1
            os._exit(status)
        # The parent talks on in the middle of its own transaction.
        for number in range(200):
            assert connection.execute(text(f"SELECT {number}")).scalar_one() == number
        assert os.waitpid(pid, 0)[1] == 0
    with database.reading() as connection:
        assert connection.execute(text("SELECT 3")).scalar_one() == 3
print("well")
"""


_FORK_OF_USED_ENGINE = """
import os, sys
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker
from breakbulk.ledger import Database

def scoped(engine):
    return scoped_session(sessionmaker(engine))

for kind in (lambda engine: engine, sessionmaker, scoped):
    engine = create_engine(sys.argv[1])
    database = Database(kind(engine))
    # The application asks something at its start. Nobody has needed Breakbulk yet.
    with engine.connect() as connection:
        parents = connection.connection.driver_connection
    pid = os.fork()
    if pid == 0:
        try:
            with database.reading() as own:
                assert own.connection.driver_connection is not parents
            status = 0
        except BaseException as error:
            print("child:", repr(error), flush=True)
            status = 1
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    with engine.connect() as connection:
        # SQLite's file was closed before the fork.
        kept = connection.connection.driver_connection is parents
        assert kept == (engine.dialect.name == "postgresql")
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
print("well")
"""


def test_a_fork_asks_for_no_database_that_nobody_has_needed() -> None:
    asked: list[str] = []

    def target() -> str:
        asked.append("asked")
        raise LookupError("the application is not that far")

    database = Database(target)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert asked == []
    del database


@pytest.mark.parametrize("program", [_FORK, _FORK_OF_USED_ENGINE], ids=["ours", "theirs"])
def test_a_forked_child_talks_for_itself(database_url: str, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, database_url],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "well\n", done.stdout + done.stderr
