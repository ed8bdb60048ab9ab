"""A hand-written pool of processes: no queue, nothing to resume from, nobody told of the end.

It is the best case on purpose. The ranges are known for nothing, eight go to a process at a time.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import time
from collections.abc import Sequence
from functools import cache

from bench.peers import work
from bench.peers.peer import WORKERS, About

SETTINGS = {"chunksize": 8}
ABOUT = About(
    title="hand-written `multiprocessing.Pool` loop",
    packages=(),
    settings=SETTINGS,
    why=(
        (
            "chunksize: fewer messages between the processes,"
            " https://docs.python.org/3/library/multiprocessing.html#multiprocessing.pool.Pool.imap"
        ),
    ),
    end="the loop ends",
    durable="nothing: who dies takes the loop along, and nobody knows how far it was",
)
_ended: list[float] = []


def prepare() -> None:
    """Nothing of its own."""


def workers() -> Sequence[Sequence[str]]:
    """None: they are children of the loop."""
    return ()


def submit(name: str, parts: Sequence[int]) -> None:
    """Loop."""
    _ended.clear()
    for _ in _pool().imap_unordered(work.FUNCTIONS[name], parts, **SETTINGS):
        pass
    _ended.append(time.time())


def done() -> float | None:
    """When the loop ended."""
    return _ended[0] if _ended else None


@cache
def _pool() -> multiprocessing.pool.Pool:
    return multiprocessing.Pool(WORKERS, work.forget_connections)
