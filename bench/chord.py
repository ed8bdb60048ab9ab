"""The same work as a Celery chord with key ranges: one message a chunk, and a result backend.

    python -m bench.chord ROWS

As Celery's guide recommends for tasks that may be run again: acknowledged late, fetched one at a
time. The ids of the products have no holes, so its ranges are known for nothing, as the loop's are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import cache

import psutil
from celery import Celery, chord
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from bench import shop
from bench.cpu import Meter, postmaster

PROCESSES = 2
CHUNK_SIZE = 500
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.02

# A chord needs a result backend: the same server.
app = Celery("chord", broker=os.environ.get(shop.BROKER), backend=os.environ.get(shop.BROKER))
app.conf.update(
    task_default_queue="bench-chord",
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
)


@cache
def engine() -> Engine:
    """This process's connections, made after the fork."""
    return create_engine(os.environ[shop.DATABASE])


@app.task(name="score", max_retries=5, default_retry_delay=60)
def score(after: int, upto: int) -> None:
    """One part of the chord."""
    here = shop.Product.id > after, shop.Product.id <= upto
    with Session(engine()) as session:
        shop.work(session, session.execute(shop.PRODUCTS.where(*here).order_by(shop.Product.id)))
        session.commit()


@app.task(name="finished")
def finished() -> None:
    """Its body: note when all was done."""
    with Session(engine()) as session:
        session.execute(text("INSERT INTO chord_finished VALUES (clock_timestamp())"))
        session.commit()


def main() -> None:
    """Work through all products and print the seconds it took, by the clock and of CPU."""
    rows, url = int(sys.argv[1]), os.environ[shop.DATABASE]
    watcher = create_engine(url, poolclass=NullPool)
    command = [sys.executable, "-m", "celery", "-A", "bench.chord", "worker"]
    options = ["--concurrency", str(PROCESSES), "--loglevel", "WARNING"]
    quiet = ["--without-mingle", "--without-gossip"]
    worker = subprocess.Popen(
        [*command, *options, *quiet], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        # Of no rows, so that both processes are warm.
        _measure(watcher, 0, parts=64)
        meter = Meter(psutil.Process(worker.pid), postmaster(url))
        seconds = _measure(watcher, rows, parts=-(-rows // CHUNK_SIZE))
        cpu, database = meter.read()
    finally:
        worker.terminate()
        worker.wait(timeout=30)
    print(json.dumps({"seconds": seconds, "worker": cpu, "database": database}))


def _measure(watcher: Engine, rows: int, *, parts: int) -> float:
    with watcher.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS chord_finished (at timestamptz)"))
        connection.execute(text("TRUNCATE chord_finished"))
    began = time.time()
    first = 0 if rows else -parts * CHUNK_SIZE
    firsts = range(first, first + parts * CHUNK_SIZE, CHUNK_SIZE)
    chord(score.si(after, after + CHUNK_SIZE) for after in firsts)(finished.si())
    patience = time.monotonic() + _START_SECONDS + rows / 1000
    while time.monotonic() < patience:
        with watcher.connect() as connection:
            at = connection.execute(text("SELECT at FROM chord_finished")).scalar()
        if at is not None:
            return float(at.timestamp()) - began
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError("The chord did not call back.")


if __name__ == "__main__":
    main()
