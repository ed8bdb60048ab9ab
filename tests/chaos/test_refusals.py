"""A database that is there and refuses: full, read-only, impatient, or with too many guests."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from breakbulk import RunStatus
from breakbulk.embedded import EmbeddedPostgres
from tests.chaos.faults.databases import STEWARD
from tests.support.disks import Disk, small_disk
from tests.support.effort import sit_out
from tests.support.fault import fault
from tests.support.servers import TEST_SETTINGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.support.arena import Arena
    from tests.support.arenas import Arenas
    from tests.support.sight import Sight
    from tests.support.stages import Stages

#: How long it refuses, in seconds.
_AWAY = 3.0
_ROWS = 1000
#: Rows after which the run can be said to go on.
_SEVERAL = 50
_ALL_RESET = ("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def _tell(url: str, *statements: str) -> None:
    """Tell a server something, each in a transaction of its own."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _set(url: str, setting: str) -> None:
    """Change a setting for everybody, sessions that there are included."""
    _tell(url, f"ALTER SYSTEM SET {setting}", "SELECT pg_reload_conf()")


def _until_refused(arena: Arena, words: str) -> None:
    """Wait until a worker has been told so."""
    wait_for(
        lambda: any(words in worker.log() for worker in arena.fleet.members),
        message=f"a worker to hear {words!r}",
    )


def _go_on(arena: Arena) -> None:
    """What an operator does who has put the cause right: resume the run if it was held."""
    run = arena.runs[-1]
    before = arena.look(run).rows_done

    def goes_on() -> bool:
        if run.status() is RunStatus.HELD:
            assert "the database takes no writes" in str(run.record().reason)
            run.resume()
        # By several chunks: a lane may be about to hold it still.
        return arena.look(run).rows_done > min(before + _SEVERAL, arena.rows - 1)

    wait_for(goes_on, message="the run to go on")


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that can be filled."""
    with small_disk(32) as disk:
        yield disk


@pytest.fixture
def url_on_disk(disk: Disk, tmp_path: Path) -> Iterator[str]:
    """URL of a database of which everything but the log of changes is on it."""
    with EmbeddedPostgres(tmp_path / "full", settings=TEST_SETTINGS) as server:
        home = disk.path / "tablespace"
        home.mkdir()
        os.chown(home, psutil.Process(server.pid).uids().real, -1)
        _tell(
            server.url,
            f"CREATE TABLESPACE small LOCATION '{home}'",
            "CREATE DATABASE shop TABLESPACE small TEMPLATE template0",
        )
        yield make_url(server.url).set(database="shop").render_as_string(hide_password=False)


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role like the application's, whose password is its name."""
    name = f"team_{secrets.token_hex(4)}"
    _tell(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE CURRENT_USER")
    yield name
    _tell(
        postgres_url,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'",
        f"DROP ROLE {name}",
    )


def test_a_full_disk(disk: Disk, url_on_disk: str, set_arena: Arenas) -> None:
    """Neither rows nor the ledger can be written."""

    @fault(seconds=_AWAY + 8.0, complaints={STEWARD, "No space left"})
    def a_full_disk(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        disk.fill()
        yield ()
        _until_refused(arena, "No space left")
        sit_out(arena.fleet.members, _AWAY)
        disk.clear()
        _go_on(arena)

    arena = set_arena(database=url_on_disk)
    bout = arena.suffer(a_full_disk)
    assert not arena.stage.attempts(bout.run)


def test_a_database_that_has_become_read_only(set_arena: Arenas) -> None:
    """As after a failover to a server that may not write yet."""

    @fault(seconds=_AWAY + 8.0, complaints={STEWARD, "read-only transaction"}, breaks={"postgres"})
    def a_read_only_database(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        url = arena.stage.config.database
        _set(url, "default_transaction_read_only = on")
        yield ()
        _until_refused(arena, "read-only transaction")
        sit_out(arena.fleet.members, _AWAY)
        _tell(url, "SET default_transaction_read_only = off", *_ALL_RESET)
        _go_on(arena)

    arena = set_arena(breaks=a_read_only_database.breaks)
    bout = arena.suffer(a_read_only_database)
    assert not arena.stage.attempts(bout.run)


def test_a_statement_timeout(set_arena: Arenas) -> None:
    """Somebody holds the lock that carving needs for longer than statements may take."""

    @fault(seconds=_AWAY + 8.0, complaints={STEWARD, "statement timeout"}, breaks={"postgres"})
    def a_statement_timeout(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        stage = arena.stage
        carves = stage.bulk.runtime.database.schema.carves.fullname
        _set(stage.config.database, "statement_timeout = '200ms'")
        with stage.engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(f"SELECT * FROM {carves} FOR UPDATE"))
            yield ()
            _until_refused(arena, "statement timeout")
            sit_out(arena.fleet.members, _AWAY)
        _tell(stage.config.database, *_ALL_RESET)

    arena = set_arena(breaks=a_statement_timeout.breaks)
    bout = arena.suffer(a_statement_timeout)
    assert not arena.stage.attempts(bout.run)


def test_too_many_connections(postgres_url: str, role: str, set_arena: Arenas) -> None:
    """The team's role may have two connections, for six processes that want one each."""

    @fault(seconds=_AWAY + 8.0, complaints={STEWARD, "too many connections"})
    def too_many_connections(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        _tell(
            postgres_url,
            f"ALTER ROLE {role} CONNECTION LIMIT 2",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
        )
        yield ()
        _until_refused(arena, "too many connections")
        sit_out(arena.fleet.members, _AWAY)
        _tell(postgres_url, f"ALTER ROLE {role} CONNECTION LIMIT -1")

    url = make_url(postgres_url).set(username=role, password=role)
    arena = set_arena(database_of_workers=url.render_as_string(hide_password=False))
    bout = arena.suffer(too_many_connections)
    assert not arena.stage.attempts(bout.run)


def test_an_exhausted_pool(postgres_url: str, valkey_url: str, set_stage: Stages) -> None:
    """Threads that share an engine with fewer connections than they need."""
    stage = set_stage(
        postgres_url,
        valkey_url,
        job={"chunk_size": 10, "retry_delay": 0},
        knobs={"lease_seconds": 2.0, "slice_seconds": 2.0},
        target="engine",
        engine={"pool_size": 2, "max_overflow": 0, "pool_timeout": 1.0},
    )
    stage.fill(_ROWS)
    stage.worker(pool="threads", concurrency=6)
    run = stage.submit(seconds=0.1)
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)
    assert not stage.losses(run)


def test_a_full_disk_under_sqlite(disk: Disk, valkey_url: str, set_stage: Stages) -> None:
    job = {"chunk_size": 10, "retry_delay": 0}
    stage = set_stage(f"sqlite:///{disk.path / 'shop.sqlite'}", valkey_url, job=job)
    stage.fill(_ROWS)
    worker = stage.worker()
    run = stage.submit(seconds=0.05)
    stage.until_done(run, 20)
    disk.fill()
    wait_for(lambda: "disk is full" in worker.log(), message="a worker to be told so")
    sit_out([worker], _AWAY)
    disk.clear()

    def ended() -> bool:
        if run.status() is RunStatus.HELD:
            assert "the database takes no writes" in str(run.record().reason)
            run.resume()
        return run.status() is RunStatus.SUCCEEDED

    wait_for(ended, timeout=120, message="the run to go on to its end")
    stage.judge(run, rows=_ROWS, complaints=[STEWARD, "disk is full"])
    assert not stage.attempts(run)
