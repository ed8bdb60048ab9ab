"""The fixtures themselves: what every other test takes for granted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from tests.support.databases import fresh_postgres
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    import random

    from sqlalchemy import Engine

    from tests.support.servers import Servers
    from tests.support.workers import WorkerFactory

_ROOT = Path(__file__).parents[2]
_APP = """
import os
from celery import Celery

app = Celery("letters", broker=os.environ["BROKER"])
app.conf.task_default_queue = os.environ["QUEUE"]
app.conf.broker_connection_retry_on_startup = False

@app.task(name="write")
def write(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
"""


@pytest.mark.parametrize("name", ["postgres", "redis", "amqp"])
def test_external_server_answers(test_servers: Servers, name: str) -> None:
    """Shows, by a skip, which servers this session leaves out."""
    assert test_servers.external(name)


@pytest.mark.parametrize("number", [1, 2])
def test_databases_are_empty_and_writable(engine: Engine, number: int) -> None:
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE left_over_{number} (id integer)"))


def test_database_urls_are_usable_as_they_are(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_a_database_goes_although_somebody_is_connected(test_servers: Servers) -> None:
    with fresh_postgres(test_servers.postgres) as url:
        engine = create_engine(url)
        connection = engine.connect()
        connection.execute(text("SELECT 1"))
    with pytest.raises(OperationalError):
        connection.execute(text("SELECT 1"))
    connection.close()
    with pytest.raises(OperationalError, match="does not exist"):
        engine.connect()


def test_randomness_is_repeatable(seed: random.Random, request: pytest.FixtureRequest) -> None:
    again: random.Random = request.getfixturevalue("seed")
    assert seed is again
    assert 0 <= seed.random() < 1


def assert_works_and_goes(
    broker: str, queue: str, start: WorkerFactory, directory: Path, pool: str
) -> None:
    (directory / "letters.py").write_text(_APP)
    environment = {"BROKER": broker, "QUEUE": queue}
    worker = start("letters", pool=pool, env=environment)
    assert worker.running
    assert len(worker.children()) >= (2 if pool == "prefork" else 0)
    letter = directory / "letter"
    send = [sys.executable, "-m", "celery", "-A", "letters", "call", "write"]
    subprocess.run(
        [*send, "--args", f'["{letter}"]'],
        cwd=directory,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    wait_for(lambda: letter.exists() and letter.read_text(), message="the letter")
    worker.terminate()
    assert worker.wait() == 0
    assert not worker.family()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_works_and_goes(
    valkey_url: str, queue_name: str, start_worker: WorkerFactory, tmp_path: Path, pool: str
) -> None:
    assert_works_and_goes(valkey_url, queue_name, start_worker, tmp_path, pool)


def test_a_broker_carries_letters(
    broker_url: str, queue_name: str, start_worker: WorkerFactory, tmp_path: Path
) -> None:
    assert_works_and_goes(broker_url, queue_name, start_worker, tmp_path, "solo")


def test_a_killed_worker_leaves_nobody(
    valkey_url: str, queue_name: str, start_worker: WorkerFactory, tmp_path: Path
) -> None:
    (tmp_path / "letters.py").write_text(_APP)
    worker = start_worker("letters", env={"BROKER": valkey_url, "QUEUE": queue_name})
    children = worker.children()
    assert len(children) >= 2
    family = {process.pid for process in worker.family()}
    assert family == {worker.pid, *(child.pid for child in children)}
    for child in children:
        child.send_signal(signal.SIGSTOP)  # so that they cannot end by themselves
    worker.kill_all()
    assert not worker.running
    assert not worker.family()


def _pytest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this file's database tests with no external server named."""
    clean = {name: value for name, value in os.environ.items() if "BREAKBULK" not in name}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, __file__],
        cwd=_ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.thorough
def test_nothing_but_the_wheels_is_needed() -> None:
    done = _pytest("-k", "databases_are_empty or external_server")
    assert done.returncode == 0, done.stdout
    assert "4 passed, 3 skipped" in done.stdout
    assert "no amqp: BREAKBULK_TEST_AMQP is not set." in done.stdout


def test_a_demanded_server_that_is_missing_is_a_failure() -> None:
    done = _pytest("-k", "external_server", BREAKBULK_REQUIRE="amqp")
    assert done.returncode == 1, done.stdout
    assert "BREAKBULK_REQUIRE demands amqp, but BREAKBULK_TEST_AMQP is not set." in done.stdout
    assert "1 failed, 2 skipped" in done.stdout


@pytest.mark.thorough
def test_a_server_that_does_not_answer_is_missing() -> None:
    done = _pytest("-k", "external_server", BREAKBULK_TEST_REDIS="redis://127.0.0.1:1/0")
    assert done.returncode == 0, done.stdout
    assert "BREAKBULK_TEST_REDIS does not answer" in done.stdout


def test_a_demand_for_an_unknown_server_is_refused() -> None:
    done = _pytest("--collect-only", BREAKBULK_REQUIRE="oracle")
    assert done.returncode != 0
    assert "BREAKBULK_REQUIRE names oracle; known are" in done.stdout + done.stderr
