"""The transaction of a chunk is ours to end, whatever user code does to it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from breakbulk import ChunkStatus, RunStatus
from breakbulk.errors import BreakbulkError
from breakbulk.runner.unit import unit
from tests.support.yard import Goods, Notice, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import Chunk


def driver_of(chunk: Chunk[Any]) -> Any:
    return chunk.session.connection().connection.driver_connection


def session_commit(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.commit()


def commit_in_savepoint(chunk: Chunk[Any]) -> None:
    with chunk.session.begin_nested():
        touch(chunk)
        chunk.session.commit()


def connection_commit(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.flush()
    chunk.session.connection().commit()


def transaction_commit(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.flush()
    transaction = chunk.session.connection().get_transaction()
    assert transaction is not None
    transaction.commit()


def text_of(words: str) -> Callable[[Chunk[Any]], None]:
    def process(chunk: Chunk[Any]) -> None:
        touch(chunk)
        chunk.session.flush()
        chunk.session.execute(text(words))

    return process


def driver_text(words: str) -> Callable[[Chunk[Any]], None]:
    def process(chunk: Chunk[Any]) -> None:
        touch(chunk)
        chunk.session.flush()
        chunk.session.connection().exec_driver_sql(words)

    return process


def swallowing(part: Callable[[Chunk[Any]], None]) -> Callable[[Chunk[Any]], None]:
    def process(chunk: Chunk[Any]) -> None:
        with suppress(Exception):
            part(chunk)

    return process


REFUSED = {
    "session.commit()": session_commit,
    "session.commit() in a savepoint": commit_in_savepoint,
    "connection.commit()": connection_commit,
    "transaction.commit()": transaction_commit,
    "text COMMIT": text_of("COMMIT"),
    "driver SQL COMMIT": driver_text("COMMIT"),
    "lower case, comments": driver_text("/* by the way */ -- so\n commit"),
    "END": driver_text("END"),
    "ROLLBACK": driver_text("ROLLBACK"),
    "rollback transaction": driver_text("rollback transaction"),
    "session.commit(), error swallowed": swallowing(session_commit),
    "connection.commit(), error swallowed": swallowing(connection_commit),
    "COMMIT, error swallowed": swallowing(driver_text("COMMIT")),
}


@pytest.mark.parametrize("process", REFUSED.values(), ids=REFUSED)
def test_ending_the_transaction_is_refused_and_holds_the_run(
    yard: Yard, process: Callable[[Chunk[Any]], None]
) -> None:
    handle = yard.run(process)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert record.reason is not None
    assert "must not commit or roll back" in record.reason
    assert "session.begin_nested()" in record.reason
    assert set(yard.versions().values()) == {0}
    # Nobody is to blame but the job: no attempt was spent, and nothing is left in anybody's hands.
    assert [chunk.attempt for chunk in handle.chunks()] == [0]
    assert handle.failures() == []
    assert yard.count("lanes") == 0


def driver_commit_and_on(chunk: Chunk[Any]) -> None:
    chunk.session.execute(update(Goods).where(Goods.id == 1).values(version=77))
    driver_of(chunk).commit()
    chunk.session.execute(update(Goods).where(chunk.where, Goods.id > 1).values(version=1))


def driver_cursor_commit_and_on(chunk: Chunk[Any]) -> None:
    chunk.session.execute(update(Goods).where(Goods.id == 1).values(version=77))
    driver_of(chunk).cursor().execute("COMMIT")
    chunk.session.execute(update(Goods).where(chunk.where, Goods.id > 1).values(version=1))


def driver_commit(chunk: Chunk[Any]) -> None:
    chunk.session.execute(update(Goods).where(Goods.id == 1).values(version=77))
    driver_of(chunk).commit()


def driver_rollback_and_on(chunk: Chunk[Any]) -> None:
    chunk.session.execute(update(Goods).where(Goods.id == 1).values(version=1))
    driver_of(chunk).rollback()
    chunk.session.execute(update(Goods).where(chunk.where, Goods.id > 1).values(version=1))


NOTICED = [driver_commit, driver_commit_and_on, driver_cursor_commit_and_on, driver_rollback_and_on]


@pytest.mark.parametrize("process", NOTICED)
def test_ending_it_through_the_driver_is_noticed_and_happens_once(
    yard: Yard, process: Callable[[Chunk[Any]], None]
) -> None:
    """The driver cannot be stopped, but what was committed must not be repeated or called done."""
    handle = yard.run(process)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert "was ended before the code" in str(record.reason)
    assert [chunk.status for chunk in handle.chunks()] == [str(ChunkStatus.WAITING)]
    versions = yard.versions()
    assert versions.pop(1) in {0, 77}
    assert set(versions.values()) == {0}


def duplicate(chunk: Chunk[Any]) -> None:
    chunk.session.execute(insert(Goods).values(id=1))


def duplicate_at_flush(chunk: Chunk[Any]) -> None:
    chunk.session.add(Goods(id=1000 + chunk.number, code="same"))
    chunk.session.add(Goods(id=2000 + chunk.number, code="same"))
    chunk.session.flush()


def session_rollback(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.flush()
    chunk.session.rollback()


def connection_rollback(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.flush()
    chunk.session.connection().rollback()


def session_close(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.flush()
    chunk.session.close()


def and_on(part: Callable[[Chunk[Any]], None]) -> Callable[[Chunk[Any]], None]:
    """Swallow what comes of it, and work on as if nothing had happened."""

    def process(chunk: Chunk[Any]) -> None:
        chunk.session.execute(update(Goods).where(chunk.where).values(version=Goods.version + 1))
        with suppress(IntegrityError):
            part(chunk)
        with suppress(DBAPIError, PendingRollbackError):
            chunk.session.execute(update(Goods).where(Goods.id == 2).values(version=9))

    return process


SWALLOWED = [duplicate, duplicate_at_flush, session_rollback, connection_rollback, session_close]


@pytest.mark.parametrize("part", SWALLOWED)
def test_a_swallowed_error_fails_the_chunk_wholly(
    yard: Yard, part: Callable[[Chunk[Any]], None]
) -> None:
    handle = yard.run(and_on(part), max_retries=1, on_failure="skip")
    assert handle.status() is RunStatus.PARTIAL
    failures = handle.failures()
    assert len(failures) == 6
    assert {failure.error for failure in failures} == {"breakbulk.errors.TransactionMisuse"}
    assert "use session.begin_nested()" in failures[0].message
    assert set(yard.versions().values()) == {0}


def test_a_savepoint_makes_an_error_harmless(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        for part in (duplicate, duplicate_at_flush):
            with suppress(IntegrityError), chunk.session.begin_nested():
                part(chunk)

    handle = yard.run(process)
    yard.assert_proper(handle)


def test_savepoints_may_be_rolled_back_and_released(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        nested = chunk.session.begin_nested()
        chunk.session.add(Notice(run=0, words="never"))
        chunk.session.flush()
        nested.rollback()
        with chunk.session.connection().begin_nested() as inner:
            chunk.session.connection().execute(insert(Notice).values(run=0, words="never"))
            inner.rollback()
        chunk.session.connection().exec_driver_sql("SAVEPOINT mine")
        chunk.session.connection().execute(insert(Notice).values(run=0, words="never"))
        chunk.session.connection().exec_driver_sql("ROLLBACK TO SAVEPOINT mine")
        chunk.session.connection().exec_driver_sql("RELEASE SAVEPOINT mine")

    handle = yard.run(process)
    yard.assert_proper(handle)
    assert yard.notices() == ["succeeded 25"]


def test_words_that_only_begin_like_an_end_are_let_be(yard: Yard) -> None:
    with yard.engine.begin() as connection:
        connection.execute(text("CREATE TABLE commits (id integer)"))

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.execute(text("INSERT INTO commits VALUES (1)"))
        chunk.session.execute(text("SELECT 'COMMIT'"))
        chunk.session.execute(text("-- COMMIT\nSELECT 1"))

    yard.assert_proper(yard.run(process))


@pytest.mark.parametrize("part", [session_commit, connection_commit, driver_text("COMMIT")])
def test_a_callback_must_not_commit_either(yard: Yard, part: Callable[[Any], None]) -> None:
    def finished(run: Any) -> None:
        run.session.add(Notice(run=run.id, words="too early"))
        run.session.flush()
        with suppress(AttributeError, TypeError):
            part(run)
        if part is session_commit:
            run.session.commit()
        elif part is connection_commit:
            run.session.connection().commit()
        else:
            run.session.connection().exec_driver_sql("COMMIT")

    handle = yard.run(finished=finished, max_retries=1)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert "must not commit" in str(record.reason)
    assert yard.notices() == []
    assert set(yard.versions().values()) == {1}


def test_a_commit_of_a_callback_through_the_driver_is_noticed(yard: Yard) -> None:
    def finished(run: Any) -> None:
        run.session.execute(insert(Notice).values(run=run.id, words="half"))
        run.session.connection().connection.driver_connection.commit()
        run.session.execute(insert(Notice).values(run=run.id, words="other half"))

    handle = yard.run(finished=finished, max_retries=0)
    assert handle.status() is RunStatus.FAILED
    assert "was ended" in str(handle.record().reason)
    assert yard.notices() == ["half"]


def test_postgres_an_error_at_commit_fails_the_chunk_and_leaves_no_trace(
    postgres_yard: Yard,
) -> None:
    """A deferred constraint: every statement is fine, only COMMIT is not."""
    yard = postgres_yard
    tries: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        tries.append(chunk.number)
        touch(chunk)
        if len(tries) == 1:
            chunk.session.execute(update(Goods).where(Goods.id == 1).values(shelf=999))

    handle = yard.run(process)
    yard.assert_proper(handle)
    assert [failure.error for failure in handle.failures()] == ["sqlalchemy.exc.IntegrityError"]
    assert handle.progress().rows_done == 25


def test_sqlite_a_commit_that_fails_leaves_nothing_behind(sqlite_url: str) -> None:
    """There the transaction stays open, with the chunk's changes in it."""
    engine = create_engine(sqlite_url)

    def switch_on(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    event.listen(engine, "connect", switch_on)
    yard = Yard(engine, rows=25)
    tries: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        tries.append(chunk.number)
        touch(chunk)
        if len(tries) == 1:
            chunk.session.execute(update(Goods).where(Goods.id == 1).values(shelf=999))

    handle = yard.run(process)
    yard.assert_proper(handle)
    assert len(handle.failures()) == 1
    yard.close()


def test_no_transaction_is_left_open_on_the_connection(yard: Yard) -> None:
    """Each refusal gives the connection back as it was: the next run works on the same one."""
    for part in (connection_commit, driver_text("COMMIT"), session_commit):
        handle = yard.run(part)
        assert handle.status() is RunStatus.HELD
        handle.cancel()
        yard.settle(handle)
    if yard.engine.dialect.name == "postgresql":
        with yard.engine.connect() as connection:
            idle = connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
                )
            ).scalar_one()
        assert idle == 0
    yard.assert_proper(yard.run())


# Sessions of the user's kind


class Routed(Session):
    """Sends some statements elsewhere, as teams with a reading replica do."""

    elsewhere: Engine

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("clause") is not None and "notices" in str(kwargs["clause"]):
            return self.elsewhere
        return super().get_bind(*args, **kwargs)


def test_a_session_that_writes_elsewhere_is_refused(database_url: str, tmp_path: Any) -> None:
    engine = create_engine(database_url)
    Routed.elsewhere = create_engine(f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    yard = Yard(sessionmaker(engine, class_=Routed), rows=25)

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.execute(select(Notice))

    handle = yard.run(process)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert "would not commit together" in str(record.reason)
    assert "elsewhere.sqlite" in str(record.reason)
    assert set(yard.versions().values()) == {0}
    yard.close()
    Routed.elsewhere.dispose()


def test_a_session_with_binds_for_some_classes_is_refused(database_url: str) -> None:
    engine, other = create_engine(database_url), create_engine(database_url)
    yard = Yard(sessionmaker(engine, binds={Goods: other}), rows=25)
    handle = yard.run()
    assert handle.status() is RunStatus.HELD
    assert "would not commit together" in str(handle.record().reason)
    assert set(yard.versions().values()) == {0}
    yard.close()
    other.dispose()


@pytest.mark.parametrize(
    "options", [{"autobegin": False}, {"autoflush": False}, {"info": {"a": 1}}]
)
def test_sessions_with_other_habits_work(database_url: str, options: dict[str, Any]) -> None:
    yard = Yard(sessionmaker(create_engine(database_url), **options), rows=25)
    yard.assert_proper(yard.run())
    yard.close()


def test_the_session_is_of_the_users_kind(database_url: str) -> None:
    class Mine(Session):
        pass

    kinds: set[type[Session]] = set()

    def process(chunk: Chunk[Goods]) -> None:
        kinds.add(type(chunk.session))
        touch(chunk)

    yard = Yard(scoped_session(sessionmaker(create_engine(database_url), class_=Mine)), rows=25)
    yard.assert_proper(yard.run(process))
    assert kinds
    assert all(issubclass(kind, Mine) for kind in kinds)
    yard.close()


def test_sqlite_what_ends_a_transaction_by_itself_fails_the_chunk(sqlite_url: str) -> None:
    """Like a full disk: the statement fails, the whole transaction is gone, process() goes on."""
    yard = Yard(sqlite_url, rows=25)

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        with suppress(DBAPIError, sqlite3.Error):
            # OR ROLLBACK does on a conflict what SQLite does by itself on SQLITE_FULL.
            chunk.session.execute(text("INSERT OR ROLLBACK INTO goods (id, version) VALUES (1, 1)"))
        chunk.session.execute(update(Goods).where(Goods.id == 2).values(version=5))

    handle = yard.run(process, max_retries=0, on_failure="skip")
    assert handle.status() is RunStatus.PARTIAL
    assert set(yard.versions().values()) == {0}
    assert {failure.error for failure in handle.failures()} == {
        "breakbulk.errors.TransactionMisuse"
    }
    yard.close()


def test_a_plan_is_refused_no_less_clearly(yard: Yard) -> None:
    with pytest.raises(BreakbulkError, match="not a job of this application"):
        yard.bulk.plan(Goods())


def test_postgres_a_shutdown_is_not_taken_for_the_connection_it_finds_cut(
    postgres_yard: Yard,
) -> None:
    """A worker is told to end in the moment in which its database is restarted."""
    database = postgres_yard.runtime.database

    def end_amid_a_unit(connection: Connection) -> None:
        with unit(database, connection) as work:
            pid = work.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with postgres_yard.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            raise SystemExit("cold")

    with database.connect() as connection:
        with pytest.raises(SystemExit, match="cold"):
            end_amid_a_unit(connection)
        connection.invalidate()
