"""The job as a chord, with the settings that Celery's documentation recommends for such a job.

Its guide to tasks says: late acknowledgement for tasks that may be run again, which a worker
then fetches one at a time. Its warning about `task_reject_on_worker_lost`, that messages may loop
for ever, is why that is a variant of its own. The visibility timeout is the documented default.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from celery import Celery, chord
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from bench.faults import work

REJECT = "BENCH_FAULTS_REJECT"

SETTINGS: dict[str, Any] = {
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "task_acks_late": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_channel_error_retry": True,
    "broker_transport_options": {"visibility_timeout": 3600},
    "task_reject_on_worker_lost": os.environ.get(REJECT) == "1",
}
# A chord needs a result backend: the same server.
app = Celery("bench", broker=os.environ.get(work.BROKER), backend=os.environ.get(work.BROKER))
app.conf.update(SETTINGS)

_IDS = text("SELECT id FROM products WHERE id > :after AND id <= :upto ORDER BY id")


@cache
def engine() -> Engine:
    """This process's connections, made after the fork, and looked at before they are used."""
    return create_engine(work.database(), pool_pre_ping=True)


@app.task(
    autoretry_for=(Exception,), max_retries=work.MAX_RETRIES, default_retry_delay=work.RETRY_DELAY
)
def process(after: int, upto: int) -> None:
    """One part of the chord."""
    with Session(engine()) as session, session.begin():
        ids = session.execute(_IDS, {"after": after, "upto": upto}).scalars().all()
        work.process(session, ids)


@app.task(
    autoretry_for=(Exception,), max_retries=work.MAX_RETRIES, default_retry_delay=work.RETRY_DELAY
)
def finished() -> None:
    """Its body."""
    with Session(engine()) as session, session.begin():
        work.call_back(session)


@app.task
def failed(_request: Any, _error: Any, _traceback: Any) -> None:
    """What is called in its place when a part has failed for good."""
    with Session(engine()) as session, session.begin():
        work.alarm(session)


def prepare() -> None:
    """Make what has to be there before the workers start: nothing."""


def submit() -> None:
    """Start the job."""
    firsts = range(0, work.ROWS, work.CHUNK_SIZE)
    parts = [process.si(first, first + work.CHUNK_SIZE) for first in firsts]
    chord(parts)(finished.si().on_error(failed.s()))
