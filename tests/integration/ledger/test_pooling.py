"""A pooler between us and PostgreSQL: it is seen, and its sessions stay nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import Celery
from sqlalchemy import create_engine, text

from breakbulk import Breakbulk
from breakbulk.ledger import Database
from breakbulk.ledger.pooling import facts
from tests.support.bouncer import bouncer

if TYPE_CHECKING:
    from collections.abc import Iterator

LABEL = "breakbulk lane 7"
_NAMES = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
_CHECKS = "SHOW client_connection_check_interval"


@pytest.fixture
def behind(postgres_url: str) -> Iterator[Database]:
    """The test's database behind a PgBouncer with one session in transaction mode."""
    with bouncer(postgres_url, sessions=1) as url:
        database = Database(url)
        yield database
        database.dispose()


def test_only_a_pooler_is_taken_for_one(postgres_url: str, behind: Database) -> None:
    direct = Database(postgres_url)
    for database, pooled in ((direct, False), (behind, True)):
        with database.connect() as connection:
            assert facts(connection).pooled is pooled
            assert facts(connection).isolation_level == "READ COMMITTED"
            assert not connection.in_transaction()
    direct.dispose()


def test_doctor_says_so(postgres_url: str, behind: Database) -> None:
    for url, told in ((postgres_url, False), (behind.engine.url, True)):
        bulk = Breakbulk(url, celery=Celery("clinic", broker="memory://", set_as_current=False))
        assert any("A pooler stands" in one.what for one in bulk.doctor()) is told
        bulk.runtime.database.dispose()


def test_the_isolation_level_is_what_the_engine_says(postgres_url: str) -> None:
    engine = create_engine(postgres_url, isolation_level="REPEATABLE READ")
    with Database(engine).connect() as connection:
        assert facts(connection).isolation_level == "REPEATABLE READ"
    engine.dispose()


def test_nothing_is_prepared_that_the_next_session_would_not_know(behind: Database) -> None:
    with behind.connect() as one, behind.connect() as other:
        # psycopg prepares the sixth time, under the same names for each of its connections.
        for connection in (one, other) * 10:
            with behind.transaction(connection):
                assert connection.exec_driver_sql("SELECT 1").scalar() == 1


@pytest.mark.parametrize("threshold", [0, 5])
def test_lanes_come_and_go_behind_it_whenever_the_team_has_statements_prepared(
    postgres_url: str, threshold: int
) -> None:
    """At the first time: then nothing of ours may be two statements in one."""
    with bouncer(postgres_url, sessions=1) as url:
        database = Database(create_engine(url, connect_args={"prepare_threshold": threshold}))
        with database.connect() as one, database.connect() as other:
            for connection in (one, other) * 4:
                with database.watched(connection, LABEL), database.transaction(connection):
                    assert connection.exec_driver_sql("SELECT 1").scalar() == 1
        database.dispose()


def test_a_lanes_transactions_carry_its_label_and_its_session_does_not(
    postgres_url: str, behind: Database
) -> None:
    watcher = create_engine(postgres_url)

    def names() -> set[str]:
        with watcher.connect() as connection:
            return set(connection.execute(text(_NAMES)).scalars())

    with behind.connect() as connection:
        with behind.watched(connection, LABEL):
            with behind.transaction(connection):
                assert LABEL in names()
            assert LABEL not in names()
            with behind.transaction(connection, patient=True):
                assert LABEL in names()
        with behind.transaction(connection):
            assert LABEL not in names()
            # Of the keep-alive settings nothing was left to strangers either.
            assert connection.execute(text(_CHECKS)).scalar() == "0"
    watcher.dispose()
