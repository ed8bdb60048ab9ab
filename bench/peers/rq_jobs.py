"""RQ jobs, enqueued in one go; two SimpleWorkers.

A final job with ``depends_on`` would be its callback, but enqueuing it watches the keys of all
the others and starts anew while workers change them: submit returned only when the work was over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

from redis import Redis
from rq import Queue
from rq.registry import FailedJobRegistry, FinishedJobRegistry

from bench.peers import work
from bench.peers.peer import WORKERS, About

# No fork for each job, "useful for performance".
# https://python-rq.org/docs/workers/#performance-notes
SETTINGS = {"worker_class": "rq.SimpleWorker", "result_ttl": 3600}
ABOUT = About(
    title="RQ",
    packages=("rq", "redis"),
    settings=SETTINGS,
    why=(
        "SimpleWorker: no fork for each job, https://python-rq.org/docs/workers/",
        "enqueue_many: one round trip for all, https://python-rq.org/docs/#bulk-job-enqueueing",
        "result_ttl: so that what was done can be counted, https://python-rq.org/docs/results/",
    ),
    end="the number of jobs that have finished is asked for (no callback)",
    durable="a job in hand is lost with its SimpleWorker",
)
_before = [0]
_wanted = [0]


@cache
def queue() -> Queue:
    """The queue."""
    return Queue("peers", connection=Redis.from_url(work.broker()))


def prepare() -> None:
    """Nothing of its own."""


def workers() -> Sequence[Sequence[str]]:
    """Two workers."""
    options = ("--worker-class", str(SETTINGS["worker_class"]), "--url", work.broker(), "--quiet")
    return [work.python("rq.cli", "worker", *options, "peers") for _ in range(WORKERS)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Enqueue all."""
    _before[0], _wanted[0] = _finished(), len(parts)
    function, ttl = work.FUNCTIONS[name], SETTINGS["result_ttl"]
    queue().enqueue_many(
        [Queue.prepare_data(function, (after,), result_ttl=ttl) for after in parts]
    )


def done() -> float | None:
    """When as many had finished, as seen from here.

    Raises:
        RuntimeError: some have failed.
    """
    if FailedJobRegistry(queue=queue()).get_job_count(cleanup=False):
        raise RuntimeError("Some of RQ's jobs have failed.")
    return time.time() if _finished() - _before[0] >= _wanted[0] else None


def _finished() -> int:
    return int(FinishedJobRegistry(queue=queue()).get_job_count(cleanup=False))
