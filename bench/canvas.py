"""Chords of parts that do nothing: Breakbulk's beside Celery's own."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any, cast

import psutil
from redis import Redis

from bench.canvas_app import BREAKBULK, CELERY, DONE, VARIABLE
from bench.chord import THROUGHPUT
from bench.figures import Findings
from bench.gauge import Gauge
from bench.memory import peak
from bench.stage import Stage

PAIRS = 3
SIZES = (1_773, 20_000)
LARGEST = 1_000_000
"""Breakbulk's only, once: of Celery's see the note that is made from what it took before."""
BROKER_MEGABYTES = 1.0
"""How much more memory the broker may use for the largest: what some messages take, not parts."""

_WARM = 64
_PATIENCE = 3600.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cost:
    """What one chord took.

    Attributes:
        submit: seconds that ``apply_async()`` took.
        seconds: from its beginning until the body was called.
        producer: peak memory of the process that applied it, in MB.
        broker: how much more memory the broker used at most than before, in MB; Celery's results
            are there, too.
        worker: peak memory of the worker's largest process, in MB.
    """

    submit: float
    seconds: float
    producer: float
    broker: float
    worker: float


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure them in turn, and who goes first takes turns."""
    found = Findings(
        "canvas",
        "chords of parts that do nothing, their body with the results, in 2 processes: Breakbulk's"
        " against Celery's own",
    )
    sizes = [stage.size(size) for size in SIZES]
    costs: dict[tuple[str, int], list[Cost]] = {}
    for size in sizes:
        for number in range(pairs or PAIRS):
            sides = (BREAKBULK, CELERY) if number % 2 else (CELERY, BREAKBULK)
            for side in sides:
                costs.setdefault((side, size), []).append(chord(stage, side, size))
    for size in sizes:
        target = {"limit": 3.0, "at_least": True} if size == sizes[-1] else {}
        _compare(found, size, costs[BREAKBULK, size], costs[CELERY, size], **target)
    largest = stage.size(LARGEST)
    alone = chord(stage, BREAKBULK, largest)
    _alone(found, largest, alone, sizes[0], costs[BREAKBULK, sizes[0]])
    settings = ", ".join(f"{name}={value}" for name, value in THROUGHPUT.items())
    found.notes += [
        "the header is a generator for both; waited for a key that the body writes",
        (
            f"Celery's workers have what its guide recommends for throughput: {settings}; its"
            " results are in the order of the header, as ours are"
        ),
        _missing(largest, sizes[-1], costs[CELERY, sizes[-1]]),
    ]
    return found


def _compare(
    found: Findings, size: int, ours: list[Cost], theirs: list[Cost], **target: Any
) -> None:
    name = f"{size:,} parts"
    rates = [[size / cost.seconds for cost in costs] for costs in (ours, theirs)]
    found.ratios(f"{name}: parts/s, Breakbulk / Celery", rates[0], rates[1], **target)
    for title, costs, rate in (("Breakbulk", ours, rates[0]), ("Celery", theirs, rates[1])):
        found.add(f"{name}: {title}", "parts/s", rate)
        _show(found, f"{name}: {title}", costs)


def _alone(found: Findings, size: int, alone: Cost, least: int, small: list[Cost]) -> None:
    name = f"{size:,} parts: Breakbulk"
    found.add(name, "parts/s", [size / alone.seconds])
    _show(found, name, [alone], broker={"limit": BROKER_MEGABYTES})
    for what in ("producer", "worker"):
        ratio = getattr(alone, what) / max(getattr(cost, what) for cost in small)
        found.add(f"{what}'s memory: {size:,} / {least:,} parts", "x", [ratio], limit=1.25)


def _show(found: Findings, name: str, costs: list[Cost], **targets: dict[str, Any]) -> None:
    found.add(f"{name}, to submit", "s", [cost.submit for cost in costs])
    for what in ("producer", "broker", "worker"):
        values = [getattr(cost, what) for cost in costs]
        found.add(f"{name}, {what}'s memory", "MB", values, **targets.get(what, {}))


def _missing(size: int, measured: int, costs: list[Cost]) -> str:
    """Say what a chord of Celery's of the largest size would have needed."""
    times = size / measured
    minutes = min(cost.seconds for cost in costs) * times / 60
    gigabytes = min(cost.broker for cost in costs) * times / 1024
    return (
        f"Celery's chord of {size:,} parts was not run: at its best pace with {measured:,} it"
        f" takes {minutes:.0f} minutes, and {gigabytes:.1f} GB of the broker"
    )


def chord(stage: Stage, side: str, parts: int) -> Cost:
    """Apply a chord with a worker of its own, and wait until its body was called."""
    with Redis.from_url(stage.broker) as broker:
        broker.flushdb()
        with stage.celery("bench.canvas_app", **{VARIABLE: side}) as worker:
            _apply(stage, side, _WARM)
            _until_done(broker, worker, _WARM)
            with Gauge(stage.broker) as gauge:
                applied = _apply(stage, side, parts)
                done = _until_done(broker, worker, parts)
            main = psutil.Process(worker.pid)
            family = [main, *main.children(recursive=True)]
            memory = max(peak(process.pid) for process in family)
        return Cost(
            submit=applied["seconds"],
            seconds=done - applied["began"],
            producer=applied["megabytes"],
            broker=gauge.grown,
            worker=memory,
        )


def _apply(stage: Stage, side: str, parts: int) -> dict[str, float]:
    found: dict[str, float] = stage.python("bench.canvas_app", str(parts), **{VARIABLE: side})
    return found


def _until_done(broker: Redis, worker: subprocess.Popen[bytes], parts: int) -> float:
    """Wait for the body; when it was called."""
    deadline = time.monotonic() + _PATIENCE
    while (note := broker.lpop(DONE)) is None:
        if worker.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The body of a chord of {parts:,} parts was not called.")
        time.sleep(_LOOK_SECONDS)
    at, results = json.loads(cast("bytes", note))
    if results != parts:
        raise RuntimeError(f"The body was given {results:,} results of {parts:,} parts.")
    return float(at)
