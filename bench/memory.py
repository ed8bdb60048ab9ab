"""Memory of submitter, workers and broker, and messages, for a thousand rows and for a million."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from bench import shop
from bench.figures import Findings
from bench.gauge import Gauge
from bench.stage import LANES, Stage

SIZES = (1_000, 1_000_000)
PAIRS = 1
BESIDE = 4 * LANES
"""Messages that are sent besides those with which a lane hands on: to begin, and to spare."""


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Run the same job over both, each time in new processes."""
    sizes = SIZES[0], max(SIZES[0], stage.size(SIZES[1]))
    for size in sizes:
        stage.narrow(size)
    submitters, workers, broker, messages, seconds = (
        {size: list[float]() for size in sizes} for _ in range(5)
    )
    for _ in range(pairs or PAIRS):
        for size in sizes:
            with stage.worker() as worker, Gauge(stage.broker) as gauge:
                before, began = _sent(stage), time.monotonic()
                submitters[size].append(stage.python("bench.memory", str(size)))
                seconds[size].append(time.monotonic() - began)
                messages[size].append(_sent(stage) - before)
                family = [worker, *worker.children(recursive=True)]
                workers[size].append(max(peak(process.pid) for process in family))
            broker[size].append(gauge.grown)
    found = Findings(
        "memory",
        "peak resident memory, of the workers the process with the most; how much more memory the"
        " broker used at most, and the messages that it was sent",
    )
    for name, peaks in (("submitter", submitters), ("worker", workers)):
        small, large = (peaks[size] for size in sizes)
        found.ratios(f"{name}: {sizes[1]:,} rows / {sizes[0]:,} rows", large, small, limit=1.10)
        for size in sizes:
            found.add(f"{name}: {size:,} rows", "MB", peaks[size])
    for size in sizes:
        found.add(f"broker: {size:,} rows", "MB", broker[size], limit=1.0)
        found.add(f"messages: {size:,} rows", "", messages[size])
        rates = [sent / took for sent, took in zip(messages[size], seconds[size], strict=True)]
        found.add(f"messages: {size:,} rows", "/s", rates)
        # Each lane sends its successor at the end of each slice, however many rows there are.
        slice_seconds = stage.bulk.runtime.settings.slice_seconds
        slices = [LANES * took / slice_seconds for took in seconds[size]]
        beside = [sent - each for sent, each in zip(messages[size], slices, strict=True)]
        found.add(f"messages besides one a slice: {size:,} rows", "", beside, limit=BESIDE)
    found.notes.append("a lane sends its successor when its slice of 5 s is over, and so they last")
    return found


def _sent(stage: Stage) -> float:
    """Messages that were put into queues so far."""
    with Redis.from_url(stage.broker) as client:
        found: Any = client.info("commandstats")
    return float(found.get("cmdstat_lpush", {}).get("calls", 0))


def peak(pid: int) -> float:
    """Peak resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Be a submitter that waits for its run; print the peak of this process in MB."""
    run = shop.bulk.submit(shop.Touch(rows=int(sys.argv[1])), overlap="allow")
    run.wait(timeout=3600).raise_for_status()
    print(json.dumps(peak(psutil.Process().pid)))


if __name__ == "__main__":
    main()
