"""The job as Breakbulk has it, with the settings that its documentation recommends."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from sqlalchemy import BigInteger, Column, MetaData, Table, select

from bench.faults import work
from breakbulk import Breakbulk, Chunk, FinishedRun

CELERY: dict[str, Any] = {
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "task_acks_late": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_channel_error_retry": True,
    "broker_transport_options": {"visibility_timeout": 3600},
}
# Not recommended, but fair: with the default of 5 s a job as short as this one would never hand
# over, and so would hardly need its broker.
BREAKBULK: dict[str, Any] = {"slice_seconds": 1.0}
SETTINGS = {**CELERY, **BREAKBULK}

app = Celery("bench", broker=os.environ.get(work.BROKER))
app.conf.update(CELERY)
bulk = Breakbulk(database=work.database, celery=app, **BREAKBULK)
products = Table("products", MetaData(), Column("id", BigInteger, primary_key=True))


@bulk.job(chunk_size=work.CHUNK_SIZE, max_retries=work.MAX_RETRIES, retry_delay=work.RETRY_DELAY)
class ProcessProducts:
    """Change every product once."""

    def source(self) -> Any:
        return select(products.c.id)

    def process(self, chunk: Chunk[Any]) -> None:
        work.process(chunk.session, [row.id for row in chunk])

    def finished(self, run: FinishedRun) -> None:
        work.call_back(run.session)

    def failed(self, run: FinishedRun) -> None:
        work.alarm(run.session)


def prepare() -> None:
    """Make what has to be there before the workers start."""
    bulk.upgrade()


def submit() -> None:
    """Start the job."""
    bulk.submit(ProcessProducts())
