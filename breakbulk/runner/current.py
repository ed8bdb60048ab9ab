"""What user code works on at this moment, for code that is not handed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from breakbulk.errors import NothingAtWork
from breakbulk.runner.chunk import Chunk, FinishedRun

_chunk: ContextVar[Chunk[Any] | None] = ContextVar("breakbulk_chunk", default=None)
_run: ContextVar[FinishedRun | None] = ContextVar("breakbulk_run", default=None)


def current_chunk() -> Chunk[Any]:
    """The chunk that ``process`` works on in this thread.

    What is done through its ``session`` commits together with "this chunk is done". So a
    function far below ``process``, or a task of a canvas, changes rows exactly once.

    Raises:
        NothingAtWork: no ``process`` is at work here.
    """
    chunk = _chunk.get()
    if chunk is None:
        raise NothingAtWork(
            "There is no current chunk here: ask for it in what process() calls, or in a task that"
            " a canvas runs, in the same thread."
        )
    return chunk


def current_run() -> FinishedRun:
    """The run that ``finished`` or ``failed`` is called for in this thread.

    Raises:
        NothingAtWork: no callback is at work here.
    """
    run = _run.get()
    if run is None:
        raise NothingAtWork(
            "There is no current run here: ask for it in what finished() or failed() calls, or in"
            " the body of a canvas, in the same thread."
        )
    return run


def at_work() -> dict[str, int | str]:
    """Run, job, chunk and attempt that user code is at in this thread; nothing outside of it."""
    if (chunk := _chunk.get()) is not None:
        return chunk.place
    if (run := _run.get()) is not None:
        return {"run": int(run.id), "job": run.job, "attempt": run.attempt}
    return {}


@contextmanager
def called_back(run: FinishedRun) -> Iterator[None]:
    """Let a callback know its run."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def process(job: Any, chunk: Chunk[Any]) -> Any:
    """Call a job's ``process``, and let all that it calls know its chunk; what it returns."""
    token = _chunk.set(chunk)
    try:
        return job.process(chunk)
    finally:
        _chunk.reset(token)
