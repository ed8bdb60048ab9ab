"""Chords of parts that do nothing: Breakbulk's beside Celery's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from redis import Redis

from bench.canvas_app import BREAKBULK, CELERY, DONE, VARIABLE
from bench.figures import Findings
from bench.gauge import Gauge
from bench.memory import peak
from bench.stage import LANES, ROOT, Stage

PAIRS = 3
SIZES = (1_773, 20_000)
LARGEST = 1_000_000
"""Breakbulk's only, once: of Celery's see the note that is made from what it took before."""

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
    costs: dict[tuple[str, int], list[Cost]] = {}
    for size in SIZES:
        for number in range(pairs or PAIRS):
            sides = (BREAKBULK, CELERY) if number % 2 else (CELERY, BREAKBULK)
            for side in sides:
                costs.setdefault((side, size), []).append(chord(stage, side, size))
    costs[BREAKBULK, LARGEST] = [chord(stage, BREAKBULK, LARGEST)]
    for size in SIZES:
        _compare(found, size, costs[BREAKBULK, size], costs[CELERY, size])
    _alone(found, costs)
    found.notes += [
        "the header is a generator for both; waited for a key that the body writes",
        _missing(costs[CELERY, SIZES[-1]]),
    ]
    return found


def _compare(found: Findings, size: int, ours: list[Cost], theirs: list[Cost]) -> None:
    target = {"limit": 3.0, "at_least": True} if size == SIZES[-1] else {}
    name = f"{size:,} parts"
    rates = [[size / cost.seconds for cost in costs] for costs in (ours, theirs)]
    found.ratios(f"{name}: parts/s, Breakbulk / Celery", rates[0], rates[1], **target)
    for title, costs, rate in (("Breakbulk", ours, rates[0]), ("Celery", theirs, rates[1])):
        found.add(f"{name}: {title}", "parts/s", rate)
        _show(found, f"{name}: {title}", costs)


def _alone(found: Findings, costs: Mapping[tuple[str, int], list[Cost]]) -> None:
    (largest,), small = costs[BREAKBULK, LARGEST], costs[BREAKBULK, SIZES[0]]
    name = f"{LARGEST:,} parts: Breakbulk"
    found.add(name, "parts/s", [LARGEST / largest.seconds])
    _show(found, name, [largest])
    for what in ("producer", "worker"):
        ratio = getattr(largest, what) / max(getattr(cost, what) for cost in small)
        found.add(f"{what}'s memory: {LARGEST:,} / {SIZES[0]:,} parts", "x", [ratio], limit=1.25)


def _show(found: Findings, name: str, costs: list[Cost]) -> None:
    found.add(f"{name}, to submit", "s", [cost.submit for cost in costs])
    for what in ("producer", "broker", "worker"):
        found.add(f"{name}, {what}'s memory", "MB", [getattr(cost, what) for cost in costs])


def _missing(costs: list[Cost]) -> str:
    """Say what a chord of Celery's of the largest size would have needed."""
    times = LARGEST / SIZES[-1]
    minutes = min(cost.seconds for cost in costs) * times / 60
    gigabytes = min(cost.broker for cost in costs) * times / 1024
    return (
        f"Celery's chord of {LARGEST:,} parts was not run: at its best pace with {SIZES[-1]:,} it"
        f" takes {minutes:.0f} minutes, and {gigabytes:.1f} GB of the broker"
    )


def chord(stage: Stage, side: str, parts: int) -> Cost:
    """Apply a chord with a worker of its own, and wait until its body was called."""
    with Redis.from_url(stage.broker) as broker:
        broker.flushdb()
        with _worker(stage, side) as worker:
            _apply(stage, side, _WARM)
            _until_done(broker, worker, _WARM)
            with Gauge(stage.broker) as gauge:
                applied = _apply(stage, side, parts)
                done = _until_done(broker, worker, parts)
            family = [worker, *worker.children(recursive=True)]
            memory = max(peak(process.pid) for process in family)
        return Cost(
            submit=applied["seconds"],
            seconds=done - applied["began"],
            producer=applied["megabytes"],
            broker=gauge.grown,
            worker=memory,
        )


def _apply(stage: Stage, side: str, parts: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.canvas_app", str(parts)],
        cwd=ROOT,
        env={**stage.environment, VARIABLE: side},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _until_done(broker: Redis, worker: psutil.Process, parts: int) -> float:
    """Wait for the body; when it was called."""
    deadline = time.monotonic() + _PATIENCE
    while (note := broker.lpop(DONE)) is None:
        if not worker.is_running() or time.monotonic() > deadline:
            raise RuntimeError(f"The body of a chord of {parts:,} parts was not called.")
        time.sleep(_LOOK_SECONDS)
    at, results = json.loads(note)
    if results != parts:
        raise RuntimeError(f"The body was given {results:,} results of {parts:,} parts.")
    return float(at)


@contextmanager
def _worker(stage: Stage, side: str) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "celery", "-A", "bench.canvas_app", "worker"]
    options = ["--concurrency", str(LANES), "--loglevel", "WARNING"]
    process = subprocess.Popen(
        [*command, *options, "--without-mingle", "--without-gossip"],
        cwd=ROOT,
        env={**stage.environment, VARIABLE: side},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
