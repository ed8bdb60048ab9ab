"""Who works, and whether the installation is in order."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import view_config

import breakbulk


@view_config(
    route_name="workers", request_method="GET", renderer="breakbulk.web:templates/workers.jinja2"
)
def workers(request: Request) -> dict[str, Any]:
    """Workers with their lanes; the doctor when asked, because he also asks the broker."""
    bulk = request.bulk
    lanes: dict[Any, list[Any]] = {}
    for lane in bulk.lanes():
        lanes.setdefault(lane.worker_id, []).append(lane)
    current, needed = bulk.schema_version()
    return {
        "workers": bulk.workers(),
        "lanes": lanes,
        "version": breakbulk.__version__,
        "schema_version": current,
        "schema_needed": needed,
        "findings": bulk.doctor() if "doctor" in request.GET else None,
    }
