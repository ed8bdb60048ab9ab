"""Fixtures of stages: a warehouse with real workers, on a database and a broker."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.support import brokers
from tests.support.stage import Stage
from tests.support.warehouse import Config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Servers
    from tests.support.workers import WorkerFactory

BROKERS = ("valkey", "redis", "amqp")


class Stages(Protocol):
    """Sets a stage: on a database and a broker, with settings."""

    def __call__(self, database: str, broker: str, **config: Any) -> Stage:
        """Set it."""


@pytest.fixture
def broker_named(test_servers: Servers, queue_name: str) -> Iterator[Any]:
    """Call it for the URL of a broker by its kind: ``valkey``, ``redis`` or ``amqp``."""
    with ExitStack() as stack:

        def find(name: str) -> str:
            if name == "amqp":
                server = test_servers.external(name)
                return stack.enter_context(brokers.clean_amqp(server, queue_name))
            server = test_servers.valkey if name == "valkey" else test_servers.external(name)
            return stack.enter_context(brokers.empty_redis(server))

        yield find


@pytest.fixture
def set_stage(
    broker_named: Any, queue_name: str, start_worker: WorkerFactory, tmp_path: Path
) -> Iterator[Stages]:
    """Call it to set the stage; ask for it after the database."""
    stages: list[Stage] = []

    def make(database: str, broker: str, **config: Any) -> Stage:
        made = Config(database=database, broker=broker, queue=queue_name, **config)
        stages.append(Stage(made, start_worker, tmp_path))
        return stages[-1]

    yield make
    start_worker.close()
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(postgres_url: str, valkey_url: str, set_stage: Stages) -> Stage:
    """A stage on PostgreSQL and Valkey, with small chunks that are retried at once."""
    return set_stage(postgres_url, valkey_url, job={"chunk_size": 50, "retry_delay": 0})
