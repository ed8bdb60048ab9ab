"""What failed in a run: attempts by class, and rows in quarantine."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import view_config

from breakbulk import RunHandle
from breakbulk.web.query import number_in, text_in

_ATTEMPTS = 20
_ROWS = 100


@view_config(
    route_name="failures", request_method="GET", renderer="breakbulk.web:templates/failures.jinja2"
)
def failures(request: Request) -> dict[str, Any]:
    """The latest failed attempts, of one class if one is chosen, and the quarantine."""
    handle: RunHandle = request.bulk.run(int(request.matchdict["run"]))
    error = text_in(request, "error")
    rows = handle.errors(after=number_in(request, "after") or 0, limit=_ROWS + 1)
    return {
        "run": handle.record(),
        "error": error,
        "groups": handle.failure_groups(),
        "attempts": handle.failures(_ATTEMPTS, error=error),
        "quarantine": rows[:_ROWS],
        "following": rows[_ROWS - 1].id if len(rows) > _ROWS else None,
    }
