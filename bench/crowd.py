"""Many lanes in few processes: each is a thread, and its chunks work by waiting.

    python -m bench.crowd WORKER

runs as many for the worker of that id as the environment says, until its standard input ends. They
are the same lanes that a Celery worker runs, over the same ledger; only the messages are missing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import cache
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Engine,
    MetaData,
    Table,
    create_engine,
    func,
    select,
)

from bench import shop
from breakbulk import Breakbulk, Chunk
from breakbulk.domain.chunk import Claim
from breakbulk.runner import takeover
from breakbulk.runner.runtime import Process
from breakbulk.runner.work import work

LANES = "BREAKBULK_BENCH_LANES"
QUEUE = "bench-crowd"
ROWS_A_CHUNK = 10
SLOW_PART = 0.1
SLOW_TIMES = 100
ALONE = "BREAKBULK_BENCH_ALONE"
"""Set: no lane takes over what another holds."""
WHOLE = "BREAKBULK_BENCH_WHOLE"
"""Set: what is taken over is never shared out."""
TARGET = 0.5
"""Seconds that a chunk is to take which sizes itself."""
_SPARE = 4
_SLICE_SECONDS = 5.0


@cache
def engine() -> Engine:
    """Connections enough for all the lanes of this process."""
    lanes = int(os.environ.get(LANES, "1"))
    return create_engine(os.environ[shop.DATABASE], pool_size=lanes + _SPARE, max_overflow=_SPARE)


app = Celery("crowd", broker=os.environ.get(shop.BROKER))
bulk = Breakbulk(database=engine, celery=app)


@bulk.job(name="bench.crowd.Wait", chunk_size=ROWS_A_CHUNK, queue=QUEUE)
class Wait:
    """Chunks that keep a lane and a session busy, and no processor."""

    rows: int
    seconds: float

    def source(self) -> Any:
        return select(shop.narrow(self.rows))

    def process(self, _chunk: Chunk[Any]) -> None:
        time.sleep(self.seconds)


@bulk.job(name="bench.crowd.Skewed", chunk_size=ROWS_A_CHUNK, queue=QUEUE)
class Skewed:
    """Rows of which the last tenth takes a hundred times as long as the others."""

    rows: int
    seconds: float

    def source(self) -> Any:
        return select(shop.narrow(self.rows))

    def process(self, chunk: Chunk[Any]) -> None:
        keys: list[Any] = [key for (key,) in chunk.row_keys]
        slow = sum(key > self.rows * (1 - SLOW_PART) for key in keys)
        time.sleep(self.seconds * (len(keys) - slow + SLOW_TIMES * slow))


@cache
def drifting(shape: str, lanes: int) -> Table:
    """Return the table of rows that say how many seconds each of them costs."""
    return Table(
        f"drift_{shape}_{lanes}",
        MetaData(),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("cost", Double, nullable=False),
    )


@bulk.job(name="bench.crowd.Drift", chunk_size="auto", chunk_seconds=TARGET, queue=QUEUE)
class Drift:
    """Chunks that size themselves, and wait for as long as their rows cost."""

    shape: str
    lanes: int

    def source(self) -> Any:
        return select(drifting(self.shape, self.lanes))

    def process(self, chunk: Chunk[Any]) -> None:
        table = drifting(self.shape, self.lanes)
        cost = chunk.session.execute(select(func.sum(table.c.cost)).where(chunk.where))
        time.sleep(cost.scalar_one())


def main() -> None:
    """Be lanes until nobody listens any more."""
    over = threading.Event()
    process = Process.current(UUID(sys.argv[1]), stopping=over.is_set)
    if os.environ.get(ALONE):
        takeover.TakeOver.attempt = _leave_alone  # type: ignore[method-assign]
    if os.environ.get(WHOLE):
        takeover._is_fresh = _leave_whole  # noqa: SLF001  (no option of anybody's)

    def be_a_lane() -> None:
        while not over.is_set():
            if not work(bulk.runtime, process, QUEUE, _SLICE_SECONDS):
                over.wait(0.1)

    lanes = [threading.Thread(target=be_a_lane) for _ in range(int(os.environ[LANES]))]
    for lane in lanes:
        lane.start()
    sys.stdin.read()
    over.set()
    for lane in lanes:
        lane.join()
    engine().dispose()


def _leave_alone(*_: object, **__: object) -> takeover.Taken:
    return takeover.Taken()


def _leave_whole(claim: Claim) -> bool:  # noqa: ARG001  (called by its name)
    return False


if __name__ == "__main__":
    main()
