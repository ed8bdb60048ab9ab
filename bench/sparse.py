"""A filter that matches one row in 100,000 with no index for it, beside one sequential scan."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from bench import shop
from bench.figures import Findings
from bench.stage import Stage

ROWS = 10_000_000
PAIRS = 3
_PROBE_SECONDS = 0.005


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure pairs, with somebody beside them who wants the run's rows all the time."""
    rows = stage.size(ROWS)
    stage.narrow(rows)
    scan = f"SELECT count(changes) FROM {shop.narrow(rows).name} WHERE kind = 0"
    stage.ask(scan)  # it comes from memory from now on, for everybody
    times: dict[str, list[float]] = {
        "in one process": [],
        "parallel": [],
        "found": [],
        "changed": [],
    }
    waits = []
    with stage.worker():
        for _ in range(pairs or PAIRS):
            times["in one process"].append(_scan(stage, scan, workers=0))
            times["parallel"].append(_scan(stage, scan, workers=2))
            for name in ("found", "changed"):
                with _probe(stage) as longest:
                    job = shop.Sparse(rows=rows, change=name == "changed")
                    times[name].append(stage.measure(job))
                waits.append(longest[0] * 1000)
    found = Findings("sparse", f"1 row in {shop.SPARSE_EVERY:,} of {rows:,}, no index")
    one = times["in one process"]
    found.ratios("job that only finds the rows / scan", times["found"], one, limit=1.3)
    found.ratios("job that changes them, too / scan", times["changed"], one)
    found.add("longest wait for the run's rows", "ms", [max(waits)], limit=100)
    for name in ("found", "changed"):
        found.add(f"job, rows {name}", "s", times[name])
    for name in ("in one process", "parallel"):
        found.add(f"sequential scan, {name}", "s", times[name])
    found.notes.append(
        "an UPDATE of the chunk's range has to search it once more: that is the job's own work"
    )
    return found


def _scan(stage: Stage, query: str, *, workers: int) -> float:
    with stage.engine.connect() as connection:
        connection.execute(text(f"SET max_parallel_workers_per_gather = {workers}"))
        began = time.monotonic()
        connection.execute(text(query)).scalar_one()
        return time.monotonic() - began


@contextmanager
def _probe(stage: Stage) -> Iterator[list[float]]:
    """Lock the rows of all runs again and again; yield a list with the longest wait in seconds.

    Whoever holds them for longer than a probe's pause is met by the next one, so a wait tells
    how long a pause, a cancel or another lane's carve would have had to wait.
    """
    longest = [0.0]
    over = threading.Event()

    def probe() -> None:
        with stage.engine.connect() as connection:
            while not over.wait(_PROBE_SECONDS):
                for table in ("runs", "carves"):
                    began = time.monotonic()
                    connection.execute(text(f"SELECT 1 FROM breakbulk.{table} FOR UPDATE"))
                    connection.rollback()
                    longest[0] = max(longest[0], time.monotonic() - began)

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        yield longest
    finally:
        over.set()
        prober.join()
