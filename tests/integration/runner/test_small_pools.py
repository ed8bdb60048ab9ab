"""An engine with one connection for everything: steward and outbox bring their own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, event, text

from breakbulk.ledger import Database
from breakbulk.runner.outbox_thread import OutboxThread
from breakbulk.runner.steward_thread import StewardThread
from tests.support.receiver import receiver
from tests.support.waiting import wait_for
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def small_engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=60)
    yield engine
    engine.dispose()


@contextmanager
def at_work(yard: Yard) -> Iterator[None]:
    """Steward and outbox in threads, as a worker has them."""
    crew = yard.first_crew
    steward = StewardThread(yard.runtime, crew.steward)
    outbox = OutboxThread(yard.runtime, lambda: crew.steward.leads, lambda *_: None)
    steward.start()
    outbox.start()
    try:
        yield
    finally:
        outbox.stop()
        steward.stop()


def test_events_are_sent_while_the_pool_is_empty(small_engine: Engine) -> None:
    """Steward and outbox at work, and a lane that keeps the only connection there is."""
    yard = Yard(small_engine, rows=25, webhook_allow="127.0.0.1", steward_seconds=0.05)
    with receiver() as outside:
        yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
        yard.submit(yard.job())
        with at_work(yard), yard.runtime.database.connect():
            wait_for(lambda: outside.received, message="the event to be sent")
    yard.close()


def test_postgres_a_loss_takes_nobodys_connection(postgres_url: str) -> None:
    """Both lose theirs; each gets its own again, and the pool's is still there for a lane."""
    engine = create_engine(postgres_url, pool_size=1, max_overflow=0, pool_timeout=60)
    yard = Yard(engine, rows=25, webhook_allow="127.0.0.1", steward_seconds=0.05)
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    others = text("SELECT pid FROM pg_stat_activity WHERE application_name = 'apart'")
    end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid")

    @event.listens_for(engine, "engine_connect")
    def _label(connection: object) -> None:
        # Whatever listens to the team's engine listens here, too.
        if connection.engine is not engine:  # type: ignore[attr-defined]
            connection.exec_driver_sql("SET application_name = 'apart'")  # type: ignore[attr-defined]
            connection.commit()  # type: ignore[attr-defined]

    def sessions() -> set[int]:
        with admin.connect() as connection:
            return set(connection.execute(others).scalars())

    with receiver() as outside:
        yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
        with at_work(yard):
            wait_for(lambda: len(sessions()) == 2, message="two connections")
            before = sessions()
            with admin.connect() as connection:
                for pid in before:
                    connection.execute(end, {"pid": pid})
            wait_for(lambda: len(sessions() - before) == 2, message="two others in their place")
            yard.submit(yard.job())
            with yard.runtime.database.connect():
                wait_for(lambda: outside.received, message="the event to be sent")
    wait_for(lambda: not sessions(), message="both to be closed")
    admin.dispose()
    yard.close()


def test_a_connection_apart_is_no_place_in_the_pool(small_engine: Engine) -> None:
    database = Database(
        small_engine.execution_options(isolation_level="READ COMMITTED")
        if small_engine.dialect.name == "postgresql"
        else small_engine
    )
    with database.connect() as held, database.connect_apart() as apart:
        assert held.connection.driver_connection is not apart.connection.driver_connection
        assert apart.execute(text("SELECT 1")).scalar_one() == 1
    assert small_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
