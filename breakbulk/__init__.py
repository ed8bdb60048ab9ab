"""Breakbulk: one big job over many database rows, as small chunks on Celery workers.

The public names are loaded when they are first used, so that importing one room of the house
does not pull in the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pyramid.config import Configurator

    from breakbulk.app import Breakbulk, RunHandle
    from breakbulk.domain.progress import Progress
    from breakbulk.domain.status import ChunkStatus, RunStatus
    from breakbulk.errors import BreakbulkError, CancelRun, Snooze
    from breakbulk.jobs import Masked, job
    from breakbulk.runner.chunk import Chunk, FinishedRun, SubmittedRun
    from breakbulk.runner.current import current_chunk, current_run
    from breakbulk.runner.whereabouts import LogContext
    from breakbulk.settings import Settings
    from breakbulk.sources import Items, table_source

_HOMES = {
    "Breakbulk": "breakbulk.app",
    "BreakbulkError": "breakbulk.errors",
    "CancelRun": "breakbulk.errors",
    "Chunk": "breakbulk.runner.chunk",
    "ChunkStatus": "breakbulk.domain.status",
    "FinishedRun": "breakbulk.runner.chunk",
    "Items": "breakbulk.sources",
    "LogContext": "breakbulk.runner.whereabouts",
    "Masked": "breakbulk.jobs",
    "Progress": "breakbulk.domain.progress",
    "RunHandle": "breakbulk.app",
    "RunStatus": "breakbulk.domain.status",
    "Settings": "breakbulk.settings",
    "Snooze": "breakbulk.errors",
    "SubmittedRun": "breakbulk.runner.chunk",
    "current_chunk": "breakbulk.runner.current",
    "current_run": "breakbulk.runner.current",
    "job": "breakbulk.jobs",
    "table_source": "breakbulk.sources",
}

__all__ = [
    "Breakbulk",
    "BreakbulkError",
    "CancelRun",
    "Chunk",
    "ChunkStatus",
    "FinishedRun",
    "Items",
    "LogContext",
    "Masked",
    "Progress",
    "RunHandle",
    "RunStatus",
    "Settings",
    "Snooze",
    "SubmittedRun",
    "current_chunk",
    "current_run",
    "job",
    "table_source",
]


def includeme(config: Configurator) -> None:
    """Add Breakbulk to a Pyramid application: ``config.include("breakbulk")``."""
    config.include("breakbulk.pyramid")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'breakbulk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
