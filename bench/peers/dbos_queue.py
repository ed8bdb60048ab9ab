"""A DBOS queue: a workflow for each chunk, with one transactional step; a workflow above them.

    python -m bench.peers.dbos_queue EXECUTOR

is one worker.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, SQLAlchemyDatasource
from sqlalchemy import text

from bench import shop
from bench.peers import work
from bench.peers.peer import CHUNK_SIZE, WORKERS, About

SETTINGS: dict[str, Any] = {
    # A process takes as many workflows as it has room for each time it looks; with 1 it could do
    # no more than one a look.
    # https://docs.dbos.dev/python/tutorials/queue-tutorial#managing-concurrency
    "worker_concurrency": 10,
    # The default is 1 s. https://docs.dbos.dev/python/reference/queues
    "polling_interval_sec": 0.05,
    # Else two that write at once fail and are repeated.
    "isolation_level": "READ COMMITTED",
}
ABOUT = About(
    title="DBOS queue",
    packages=("dbos",),
    settings=SETTINGS,
    why=(
        "worker_concurrency: https://docs.dbos.dev/python/tutorials/queue-tutorial",
        "polling_interval_sec: https://docs.dbos.dev/python/reference/queues",
        "isolation_level: what every other contestant has",
    ),
    end="the workflow above all the others writes the time",
    durable="every step commits once; a worker's workflows wait for it to come back",
)
_CHUNKS, _JOBS = "peers_chunks", "peers_jobs"


@cache
def datasource() -> SQLAlchemyDatasource:
    """This process's connections, and where DBOS notes which transactions were committed."""
    return SQLAlchemyDatasource.create(work.database())


def score(after: int) -> None:
    """The work in the transaction that DBOS opens, which notes that it was done, too."""
    here = shop.Product.id > after, shop.Product.id <= after + CHUNK_SIZE
    session = datasource().sql_session()
    shop.work(session, session.execute(shop.PRODUCTS.where(*here).order_by(shop.Product.id)))


def call_back() -> None:
    """Note when all was done."""
    session = datasource().sql_session()
    session.execute(text("INSERT INTO called_back VALUES (clock_timestamp())"))


@DBOS.workflow()
def part(name: str, after: int) -> None:
    """One chunk."""
    if name == "score":
        level = SETTINGS["isolation_level"]
        datasource().run_tx_step({"name": "score", "isolation_level": level}, score, after)
    else:
        work.FUNCTIONS[name](after)


@DBOS.workflow()
def job(name: str, parts: list[int]) -> None:
    """All chunks, and the callback."""
    handles = [DBOS.enqueue_workflow(_CHUNKS, part, name, after) for after in parts]
    for handle in handles:
        handle.get_result()
    level = SETTINGS["isolation_level"]
    datasource().run_tx_step({"name": "call_back", "isolation_level": level}, call_back)


def prepare() -> None:
    """Its tables."""
    DBOS.migrate(work.database())
    datasource()


def workers() -> Sequence[Sequence[str]]:
    """Two processes."""
    return [work.python(__name__, f"worker-{number}") for number in range(WORKERS)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Enqueue the workflow above all."""
    client = DBOSClient(system_database_url=work.database(), application_name="peers")
    client.enqueue({"queue_name": _JOBS, "workflow_name": job.__qualname__}, name, list(parts))
    client.destroy()


done = work.called_back


def main() -> None:
    """Work until SIGTERM comes."""
    # Before there are threads, which inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    config: DBOSConfig = {
        "name": "peers",
        "system_database_url": work.database(),
        "executor_id": sys.argv[1],
        "application_version": "1",
        "log_level": "ERROR",
    }
    datasource()
    DBOS(config=config)
    DBOS.launch()
    interval = SETTINGS["polling_interval_sec"]
    slots = SETTINGS["worker_concurrency"]
    DBOS.register_queue(_CHUNKS, worker_concurrency=slots, polling_interval_sec=interval)
    DBOS.register_queue(_JOBS, worker_concurrency=1, polling_interval_sec=interval)
    signal.sigwait({signal.SIGTERM})
    DBOS.destroy(workflow_completion_timeout_sec=1)


if __name__ == "__main__":
    main()
