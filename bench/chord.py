"""How Celery's workers are set up wherever the pace of its chord is measured."""

from __future__ import annotations

from typing import Any

THROUGHPUT: dict[str, Any] = {
    # "If you have many tasks with a short duration, and throughput is important to you, this
    # number should be large": 64 and 128 are its examples.
    # https://docs.celeryq.dev/en/stable/userguide/optimizing.html#prefetch-limits
    "worker_prefetch_multiplier": 64,
    # What is lost with a worker is delivered again, for tasks that may be run again.
    # https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.acks_late
    "task_acks_late": True,
}
