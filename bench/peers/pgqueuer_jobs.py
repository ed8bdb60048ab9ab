"""PgQueuer jobs in PostgreSQL, enqueued in one go.

    python -m bench.peers.pgqueuer_jobs

is one worker. Its command line of 1.6 ends with an error when it is given a log level, so this
runs the queue manager itself, as its documentation shows for programs of one's own.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

import psycopg
from pgqueuer import PgQueuer
from pgqueuer.db import PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from sqlalchemy import text

from bench.peers import work
from bench.peers.peer import WORKERS, About

SETTINGS = {
    # Jobs fetched in one round trip; its own default and that of its benchmark.
    # https://pgqueuer.readthedocs.io/en/latest/benchmark/
    "batch_size": 10,
}
ABOUT = About(
    title="PgQueuer",
    packages=("pgqueuer", "psycopg"),
    settings=SETTINGS,
    why=(
        "batch_size: https://pgqueuer.readthedocs.io/en/latest/benchmark/",
        (
            "the chunk's function blocks the event loop: in a thread for each job, as code that"
            " waits is to be called, ten of a batch would wait for one interpreter"
        ),
    ),
    end="the jobs that are left are asked for (no callback)",
    durable="a job in hand is picked again when its worker's heartbeat is old",
)


async def _connect() -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(work.plain_database(), autocommit=True)


async def _serve() -> None:
    async with await _connect() as connection:
        manager = PgQueuer.from_psycopg_connection(connection)

        @manager.entrypoint("part")
        async def part(job: Job) -> None:
            assert job.payload is not None
            name, _, after = job.payload.decode().partition(" ")
            work.FUNCTIONS[name](int(after))

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, manager.shutdown.set)
        await manager.run(**SETTINGS)


async def _install() -> None:
    async with await _connect() as connection:
        await Queries(PsycopgDriver(connection)).install()


async def _enqueue(name: str, parts: Sequence[int]) -> None:
    payloads: list[bytes | None] = [f"{name} {after}".encode() for after in parts]
    async with await _connect() as connection:
        queries = Queries(PsycopgDriver(connection))
        await queries.enqueue(["part"] * len(payloads), payloads, [0] * len(payloads))


def prepare() -> None:
    """Its tables."""
    asyncio.run(_install())


def workers() -> Sequence[Sequence[str]]:
    """Two processes."""
    return [work.python(__name__) for _ in range(WORKERS)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Enqueue all."""
    asyncio.run(_enqueue(name, parts))


def done() -> float | None:
    """When no job was left, as seen from here."""
    with work.engine().connect() as connection:
        left = connection.execute(text("SELECT EXISTS (SELECT FROM pgqueuer)")).scalar_one()
    return None if left else time.time()


if __name__ == "__main__":
    asyncio.run(_serve())
