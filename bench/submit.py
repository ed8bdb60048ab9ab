"""How long submit takes, for a table of a thousand rows and for one of ten million."""

from __future__ import annotations

import time

from bench import shop
from bench.figures import Findings
from bench.stage import Stage

PAIRS = 20
SIZES = (1_000, 10_000_000)


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Submit to both in turn; no worker is there, so nothing else goes on."""
    sizes = SIZES[0], stage.size(SIZES[1])
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for size in sizes:
        stage.narrow(size)
        _submit(stage, size)  # the first one connects, and compiles its statements
    for _ in range(max(pairs or 0, PAIRS)):
        for size in sizes:
            times[size].append(_submit(stage, size) * 1000)
    found = Findings("submit", "from the call to its return, the run committed and lanes asked for")
    for size in sizes:
        found.add(f"{size:,} rows", "ms", times[size], limit=50)
    small, large = (times[size] for size in sizes)
    found.ratios(f"{sizes[1]:,} rows / {sizes[0]:,} rows", large, small, limit=1.25)
    return found


def _submit(stage: Stage, rows: int) -> float:
    began = time.perf_counter()
    run = stage.bulk.submit(shop.Touch(rows=rows), overlap="allow")
    seconds = time.perf_counter() - began
    run.cancel()
    return seconds
