"""What this thread works on, for logs and for whoever reports errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from breakbulk.domain.chunk import RunId
from breakbulk.runner.current import at_work

#: What a record is given, in this order.
NAMES = ("run", "job", "chunk", "attempt", "lane")
#: Celery's own format with the place behind it, for ``worker_log_format``.
LOG_FORMAT = (
    "[%(asctime)s: %(levelname)s/%(processName)s]"
    " [run %(run)s chunk %(chunk)s attempt %(attempt)s lane %(lane)s] %(message)s"
)

_lane: ContextVar[dict[str, int | str] | None] = ContextVar("breakbulk_lane", default=None)


@contextmanager
def in_lane(run_id: RunId, job: str, number: int) -> Iterator[None]:
    """A lane of this thread works on a run."""
    token = _lane.set({"run": int(run_id), "job": job, "lane": number})
    try:
        yield
    finally:
        _lane.reset(token)


def whereabouts() -> dict[str, int | str]:
    """Run, job, chunk, attempt and lane, as far as this thread is at one."""
    return {**(_lane.get() or {}), **at_work()}


class LogContext(logging.Filter):
    """Gives each log record what its thread works on: ``%(run)s`` and so on in a format.

    The attributes are ``run``, ``job``, ``chunk``, ``attempt`` and ``lane``. What a record has
    already, from ``extra=``, stays. Celery's own handlers have this filter in every worker that
    Breakbulk is in; add it to handlers of your own::

        {
            "filters": {"place": {"()": "breakbulk.LogContext"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["place"]}},
        }

    Args:
        missing: what the attributes are where there is no such thing, as in the log of the
            worker's main process.
    """

    def __init__(self, missing: str | None = "-") -> None:
        super().__init__()
        self._missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        known = whereabouts()
        for name in NAMES:
            if name not in record.__dict__:
                setattr(record, name, known.get(name, self._missing))
        return True


def add_to(logger: logging.Logger) -> None:
    """Let all handlers of a logger know where their records are from."""
    for handler in logger.handlers:
        if not any(isinstance(one, LogContext) for one in handler.filters):
            handler.addFilter(LogContext())
