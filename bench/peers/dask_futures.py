"""Dask distributed: a scheduler, two workers with one thread each, one future a chunk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from distributed import Client, as_completed

from bench.peers import work
from bench.peers.peer import WORKERS, About

SETTINGS = {
    # One thread for work that holds the interpreter.
    # https://docs.dask.org/en/stable/best-practices.html#processes-and-threads
    "nthreads": 1,
    # The chunks change something, so equal calls are not the same.
    # https://distributed.dask.org/en/stable/client.html#pure-functions-by-default
    "pure": False,
}
ABOUT = About(
    title="Dask distributed",
    packages=("distributed", "dask"),
    settings=SETTINGS,
    why=(
        "nthreads: https://docs.dask.org/en/stable/best-practices.html",
        "pure: https://distributed.dask.org/en/stable/client.html",
        "as_completed: https://docs.dask.org/en/stable/futures.html#waiting-on-futures",
    ),
    end="the client has seen every future complete",
    durable="nothing: the futures are in the memory of scheduler and client",
)
_ended: list[float] = []


def prepare() -> None:
    """Nothing of its own."""


def workers() -> Sequence[Sequence[str]]:
    """A scheduler and two processes."""
    found = ("--scheduler-file", str(_scheduler_file()))
    scheduler = work.python(
        "distributed.cli.dask_scheduler",
        *found,
        "--port",
        "0",
        "--host",
        "127.0.0.1",
        "--no-dashboard",
    )
    threads = ("--nthreads", str(SETTINGS["nthreads"]), "--no-dashboard", "--no-nanny")
    worker = work.python("distributed.cli.dask_worker", *found, *threads)
    return [scheduler, *(worker for _ in range(WORKERS))]


def submit(name: str, parts: Sequence[int]) -> None:
    """Submit all, and see them completed."""
    _ended.clear()
    function = work.FUNCTIONS[name]
    for future in as_completed(_client().map(function, parts, pure=SETTINGS["pure"])):
        future.result()
    _ended.append(time.time())


def done() -> float | None:
    """When the client had seen the last one."""
    return _ended[0] if _ended else None


@cache
def _client() -> Client:
    return Client(scheduler_file=str(_scheduler_file()), timeout=60)


def _scheduler_file() -> Path:
    return work.scratch() / "dask-scheduler.json"
