"""What the job does, the same code for every system: some rows of work, and one callback.

The rows are changed in the middle of a chunk's time, so that a process that is stopped has locks
on them about half of the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from bench.faults.traps import Traps

ROWS = 100_000
CHUNK_SIZE = 500
CHUNK_SECONDS = 0.03
MAX_RETRIES = 5
RETRY_DELAY = 1

DATABASE = "BENCH_FAULTS_DATABASE"
BROKER = "BENCH_FAULTS_BROKER"

_CHANGE = text("UPDATE products SET version = version + 1 WHERE id = ANY(:ids)")
_NOTICE = text("INSERT INTO notices (missing) SELECT count(*) FROM products WHERE version = 0")
_ALARM = text("INSERT INTO alarms DEFAULT VALUES")


def process(session: Session, ids: Sequence[int]) -> None:
    """Do a chunk: it is up to the caller to commit."""
    traps = Traps.here()
    traps.row(ids)
    time.sleep(CHUNK_SECONDS / 2)
    session.execute(_CHANGE, {"ids": list(ids)})
    traps.middle("chunk")
    time.sleep(CHUNK_SECONDS / 2)
    traps.commit(session, "chunk")


def call_back(session: Session) -> None:
    """Note that all is done, and how many rows are not: it is up to the caller to commit."""
    traps = Traps.here()
    session.execute(_NOTICE)
    traps.middle("callback")
    traps.commit(session, "callback")


def alarm(session: Session) -> None:
    """Note that the system has called the job failed: it is up to the caller to commit."""
    session.execute(_ALARM)


def database() -> str:
    """URL of the database."""
    return os.environ[DATABASE]
