"""Breakbulk in a Pyramid application: ``config.include("breakbulk")``.

It gives requests a ``breakbulk`` to submit runs with, inside their own transaction; it finds jobs
by ``config.scan()``; it gives jobs a prepared request; and it sends events. Nothing of the core
knows of it: it is one *context* and one *notify* of the ``Breakbulk`` that it makes.
"""

from __future__ import annotations

from breakbulk.pyramid.events import (
    RowsQuarantined,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunFinished,
    RunPartial,
    RunSubmitted,
    RunSucceeded,
)
from breakbulk.pyramid.include import includeme
from breakbulk.pyramid.permissions import OPERATE, VIEW, may, require
from breakbulk.pyramid.request import RequestBreakbulk

__all__ = [
    "OPERATE",
    "VIEW",
    "RequestBreakbulk",
    "RowsQuarantined",
    "RunCancelled",
    "RunEvent",
    "RunFailed",
    "RunFinished",
    "RunPartial",
    "RunSubmitted",
    "RunSucceeded",
    "includeme",
    "may",
    "require",
]
