"""A database that refuses what it is asked: nobody pays an attempt, nobody insists."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import make_url

from breakbulk import RunStatus
from breakbulk.embedded import EmbeddedPostgres
from tests.chaos.faults import refusals
from tests.chaos.faults.databases import STEWARD
from tests.chaos.faults.refusals import tell
from tests.support.disks import Disk, small_disk
from tests.support.effort import sit_out_quietly
from tests.support.servers import TEST_SETTINGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.arenas import Arenas
    from tests.support.fault import Fault
    from tests.support.stages import Stages

_ROWS = 1000
_JOB = {"chunk_size": 10, "retry_delay": 0}


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
        tell(
            server.url,
            f"CREATE TABLESPACE small LOCATION '{home}'",
            "CREATE DATABASE shop TABLESPACE small TEMPLATE template0",
        )
        yield make_url(server.url).set(database="shop").render_as_string(hide_password=False)


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role like the application's, whose password is its name."""
    name = f"team_{secrets.token_hex(4)}"
    tell(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE CURRENT_USER")
    yield name
    tell(postgres_url, refusals.end_sessions_of(name), f"DROP ROLE {name}")


@pytest.mark.thorough
@pytest.mark.parametrize("what", refusals.ALL, ids=lambda one: one.name.replace(" ", "-"))
def test_a_database_that_refuses(set_arena: Arenas, what: Fault) -> None:
    arena = set_arena(breaks=what.breaks)
    bout = arena.suffer(what)
    assert not arena.stage.attempts(bout.run)


@pytest.mark.thorough
def test_a_full_disk(disk: Disk, url_on_disk: str, set_arena: Arenas) -> None:
    """Neither rows nor the ledger can be written."""
    arena = set_arena(database=url_on_disk)
    bout = arena.suffer(refusals.a_full_disk(disk))
    assert not arena.stage.attempts(bout.run)


@pytest.mark.thorough
def test_too_many_connections(postgres_url: str, role: str, set_arena: Arenas) -> None:
    url = make_url(postgres_url).set(username=role, password=role)
    arena = set_arena(database_of_workers=url.render_as_string(hide_password=False))
    bout = arena.suffer(refusals.too_many_connections(postgres_url, role))
    assert not arena.stage.attempts(bout.run)


def test_an_exhausted_pool(postgres_url: str, valkey_url: str, set_stage: Stages) -> None:
    """Threads that share an engine with fewer connections than they need."""
    stage = set_stage(
        postgres_url,
        valkey_url,
        job=_JOB,
        knobs={"lease_seconds": 2.0, "slice_seconds": 2.0},
        target="engine",
        engine={"pool_size": 2, "max_overflow": 0, "pool_timeout": 1.0},
    )
    stage.fill(_ROWS)
    worker = stage.worker(pool="threads", concurrency=6)
    run = stage.submit(seconds=0.05)
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    refused = "All connections of the ledger's engine are in use"
    assert refused in worker.log(), "no lane was ever without a connection"
    assert not stage.attempts(run)
    assert not stage.losses(run)


@pytest.mark.thorough
def test_a_full_disk_under_sqlite(disk: Disk, valkey_url: str, set_stage: Stages) -> None:
    stage = set_stage(f"sqlite:///{disk.path / 'shop.sqlite'}", valkey_url, job=_JOB)
    stage.fill(_ROWS)
    worker = stage.worker()
    run = stage.submit(seconds=0.05)
    stage.until_done(run, 20)
    disk.fill()
    wait_for(lambda: "disk is full" in worker.log(), message="a worker to be told so")
    sit_out_quietly([worker], seconds=3.0)
    disk.clear()

    def ended() -> bool:
        if run.status() is RunStatus.HELD:
            assert "the database takes no writes" in str(run.record().reason)
            run.resume()
        return run.status() is RunStatus.SUCCEEDED

    wait_for(ended, timeout=120, message="the run to go on to its end")
    stage.judge(run, rows=_ROWS, complaints=[STEWARD, "disk is full"])
    assert not stage.attempts(run)
