"""Breakbulk: one Celery worker with two processes, everything as it is without any settings."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from bench import shop
from bench.peers import work
from bench.peers.peer import WORKERS, About
from breakbulk.app.handle import RunHandle

ABOUT = About(
    title="**Breakbulk**",
    packages=("breakbulk", "celery", "kombu", "redis"),
    end="the run's end in the ledger",
    durable="every chunk commits once, and the callback, too, whatever dies",
)
_runs: list[RunHandle] = []


def prepare() -> None:
    """The ledger."""
    shop.bulk.upgrade()


def workers() -> Sequence[Sequence[str]]:
    """One Celery worker."""
    options = ("--concurrency", str(WORKERS), "--loglevel", "WARNING")
    quiet = ("--without-mingle", "--without-gossip")
    return [work.python("celery", "-A", "bench.shop", "worker", *options, *quiet)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Submit one run; its chunks are found and not listed."""
    if name == "warm":
        job: object = shop.Warm()
    elif name == "nothing":
        job = shop.Nothing(rows=len(parts) * shop.ROWS_A_CHUNK)
    else:
        job = shop.Score()
    _runs[:] = [shop.bulk.submit(job, overlap="allow")]


def done() -> float | None:
    """When the run succeeded.

    Raises:
        RuntimeError: it has ended in another way.
    """
    query = text("SELECT status, finished_at FROM breakbulk.runs WHERE id = :id")
    with work.engine().connect() as connection:
        status, at = connection.execute(query, {"id": _runs[0].id}).one()
    if at is None:
        return None
    if status != "succeeded":
        raise RuntimeError(f"The run has ended as {status}.")
    return float(at.timestamp())
