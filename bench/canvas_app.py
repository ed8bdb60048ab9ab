"""One chord of parts that do nothing, as Celery's own and as Breakbulk's.

    python -m bench.canvas_app PARTS

applies one and prints what that cost: in seconds, and in MB of this process. ``BENCH_CANVAS`` says
whose it is. The body writes one key, and that is what the measurement waits for: waiting through
Celery's result would spin a core for minutes. Each side's workers have the settings that are
recommended for it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import celery
import psutil
from celery import Celery
from redis import Redis

from bench import shop
from bench.chord import THROUGHPUT
from bench.memory import peak
from breakbulk import Breakbulk

VARIABLE = "BENCH_CANVAS"
CELERY, BREAKBULK = "celery", "breakbulk"
DONE = "bench-canvas-done"

app = Celery("canvas", broker=os.environ.get(shop.BROKER))
app.conf.task_default_queue = "bench-canvas"
if os.environ.get(VARIABLE) == CELERY:
    # Its results are in the header's order, which is the default and what the body of ours gets.
    app.conf.update(THROUGHPUT)
    # A chord needs a result backend: the same server.
    app.conf.update(result_backend=os.environ[shop.BROKER])
else:
    # As `doctor` recommends: a lane's message is no part, and to fetch it early gains nothing.
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, worker_disable_prefetch=True)
    bulk = Breakbulk(database=lambda: os.environ[shop.DATABASE], celery=app)


@app.task(name="part")
def part(number: int) -> int:
    """One part."""
    return number


@app.task(name="body")
def body(results: Any) -> None:
    """The body: note when it was called, and with how many results."""
    with Redis.from_url(os.environ[shop.BROKER]) as client:
        client.rpush(DONE, json.dumps([time.time(), len(results)]))


def main() -> None:
    """Apply a chord and print what it cost."""
    parts = int(sys.argv[1])
    if os.environ[VARIABLE] == CELERY:
        canvas: Any = celery
    else:
        from breakbulk import canvas
    began = time.time()
    canvas.chord((part.s(number) for number in range(parts)), body.s()).apply_async()
    seconds = time.time() - began
    memory = peak(psutil.Process().pid)
    print(json.dumps({"began": began, "seconds": seconds, "megabytes": memory}))
    sys.stdout.flush()
    # Nothing that is let go of on the way out is part of it.
    os._exit(0)


if __name__ == "__main__":
    main()
