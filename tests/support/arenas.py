"""Fixtures of arenas: on servers that all tests share, or on servers that a fault may break."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support.arena import Arena
from tests.support.fleet import Fleet
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.servers import TEST_SETTINGS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stages import Stages
    from tests.support.workers import WorkerFactory

#: Kept by pytest with a test's report: what happened in the arena.
SAYINGS = "chaos"


class Arenas(Protocol):
    """Sets an arena."""

    def __call__(
        self,
        *,
        breaks: frozenset[str] = frozenset(),
        size: int = 2,
        rows: int = 1000,
        seconds: float = 0.15,
        knobs: dict[str, Any] | None = None,
        job: dict[str, Any] | None = None,
        celery: dict[str, Any] | None = None,
        broker: str | None = None,
        database: str | None = None,
        database_of_workers: str | None = None,
        **worker: Any,
    ) -> Arena:
        """Set it.

        Args:
            breaks: what is to be broken, so that it needs its own; see :class:`Fault`.
            size: workers.
            seconds: a chunk takes that long at most.
            knobs: Breakbulk's settings; a lease of 2 s unless they say otherwise.
            job: options of the job; chunks of ten rows that are retried at once unless …
            celery: Celery's settings.
            broker: URL of another one than Valkey.
            database: URL of another one than a fresh one of the server that all tests share.
            database_of_workers: another URL of the same, for the workers.
            worker: options of each worker.
        """


@pytest.fixture
def set_arena(
    seed: random.Random,
    postgres_url: str,
    valkey_url: str,
    queue_name: str,
    set_stage: Stages,
    start_worker: WorkerFactory,
    tmp_path: Path,
    record_property: Any,
) -> Iterator[Arenas]:
    """Call it to set the arena, its workers ready; they are sent home if the test went well."""
    arenas: list[Arena] = []
    with ExitStack() as servers:

        def make(
            *,
            breaks: frozenset[str] = frozenset(),
            size: int = 2,
            rows: int = 1000,
            seconds: float = 0.15,
            knobs: dict[str, Any] | None = None,
            job: dict[str, Any] | None = None,
            celery: dict[str, Any] | None = None,
            broker: str | None = None,
            database: str | None = None,
            database_of_workers: str | None = None,
            **worker: Any,
        ) -> Arena:
            postgres = valkey = None
            if "postgres" in breaks:
                server = EmbeddedPostgres(tmp_path / "postgres", settings=TEST_SETTINGS)
                postgres = servers.enter_context(server)
            if "valkey" in breaks:
                valkey = servers.enter_context(EmbeddedValkey(tmp_path / "valkey"))
            database = database or (postgres.url if postgres else postgres_url)
            broker = broker or (valkey.url if valkey else valkey_url)
            proxy = relay = None
            if "network" in breaks:
                proxy = servers.enter_context(Proxy(database))
                database_of_workers = proxy.url
            if "messages" in breaks:
                # Number 0 is emptied before each test; number 1 has no other use.
                heard_at = broker.removesuffix("/0") + "/1"
                relay = servers.enter_context(Relay(broker, heard_at, queue_name))
            stage = set_stage(
                database,
                broker,
                job={"chunk_size": 10, "retry_delay": 0, **(job or {})},
                knobs={"lease_seconds": 2.0, **(knobs or {})},
                celery={**(relay.settings if relay else {}), **(celery or {})},
            )
            stage.fill(rows)

            def say(line: str) -> None:
                print(line, flush=True)  # noqa: T201  (shown when the test fails)
                record_property(SAYINGS, line)

            arena = Arena(
                stage,
                Fleet(stage, size, database=database_of_workers or database, **worker),
                seed,
                rows=rows,
                seconds=seconds,
                say=say,
                postgres=postgres,
                valkey=valkey,
                proxy=proxy,
                relay=relay,
            )
            arena.fleet.replenish()
            arenas.append(arena)
            return arena

        yield make
        for arena in arenas:
            if arena.sound:
                arena.close()
        start_worker.close()
