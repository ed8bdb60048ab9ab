"""The job as a DBOS queue: a workflow that enqueues one for each chunk, waits, and calls back.

    python -m bench.faults.dbos_app EXECUTOR

is one worker. As the documentation asks for where there is no Conductor, each has an executor id
of its own, which it has again when it is started anew; that is when DBOS recovers what it had in
hand. The work is done in transactions of a datasource, which commit together with the step's
outcome. SIGTERM waits for the workflows in hand.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, SQLAlchemyDatasource
from sqlalchemy import text

from bench.faults import work
from bench.faults.traps import BadRow

SETTINGS: dict[str, Any] = {
    "worker_concurrency": 2,
    # The default is 1 s, with which 4 slots could do no more than 4 chunks a second.
    "polling_interval_sec": 0.05,
    "isolation_level": "READ COMMITTED",
    "workflow_completion_timeout_sec": 10,
}
_CHUNKS, _JOBS = "chunks", "jobs"
_IDS = text("SELECT id FROM products WHERE id > :after AND id <= :upto ORDER BY id")


@cache
def datasource() -> SQLAlchemyDatasource:
    """This process's connections, and where DBOS notes which transactions were committed."""
    return SQLAlchemyDatasource.create(work.database())


def in_transaction(step: Callable[..., None], *arguments: Any) -> None:
    """Run a step; DBOS repeats it after errors of the connection, and after no others."""
    datasource().run_tx_step(
        {"name": step.__name__, "isolation_level": SETTINGS["isolation_level"]}, step, *arguments
    )


def process(after: int, upto: int) -> None:
    """Do a chunk."""
    session = datasource().sql_session()
    ids = session.execute(_IDS, {"after": after, "upto": upto}).scalars().all()
    work.process(session, ids)


def finished() -> None:
    """Call back."""
    work.call_back(datasource().sql_session())


@DBOS.workflow()
def do_chunk(after: int, upto: int) -> None:
    """Do a chunk, and again if it fails: the policy that the other systems have, too."""
    for attempt in range(work.MAX_RETRIES + 1):
        try:
            in_transaction(process, after, upto)
        except BadRow:
            if attempt == work.MAX_RETRIES:
                raise
            DBOS.sleep(work.RETRY_DELAY)
        else:
            return


@DBOS.workflow()
def job() -> None:
    """Do all chunks, and call back even if some have failed: it is ordinary code, so it can."""
    firsts = range(0, work.ROWS, work.CHUNK_SIZE)
    handles = [
        DBOS.enqueue_workflow(_CHUNKS, do_chunk, first, first + work.CHUNK_SIZE) for first in firsts
    ]
    for handle in handles:
        try:
            handle.get_result()
        except BadRow as error:
            DBOS.logger.warning(f"a chunk has failed: {error}")
    in_transaction(finished)


def launch(executor: str) -> None:
    """Start DBOS in this process."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": work.database(),
        "executor_id": executor,
        "application_version": "1",
    }
    datasource()
    DBOS(config=config)
    DBOS.launch()
    interval = SETTINGS["polling_interval_sec"]
    slots = SETTINGS["worker_concurrency"]
    DBOS.register_queue(_CHUNKS, worker_concurrency=slots, polling_interval_sec=interval)
    DBOS.register_queue(_JOBS, worker_concurrency=1, polling_interval_sec=interval)


def prepare() -> None:
    """Make DBOS's tables, so that two workers do not both try."""
    DBOS.migrate(work.database())
    datasource()


def submit() -> None:
    """Start the job."""
    client = DBOSClient(system_database_url=work.database(), application_name="bench")
    client.enqueue({"queue_name": _JOBS, "workflow_name": job.__qualname__})
    client.destroy()


def main() -> None:
    """Work until SIGTERM comes."""
    # Before there are threads, which inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    launch(sys.argv[1])
    print("ready.", flush=True)
    signal.sigwait({signal.SIGTERM})
    DBOS.destroy(workflow_completion_timeout_sec=SETTINGS["workflow_completion_timeout_sec"])


if __name__ == "__main__":
    main()
