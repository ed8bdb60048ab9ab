"""What goes on, and what has ended lately."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import view_config

from breakbulk.domain.run import Run
from breakbulk.domain.status import ACTIVE, FINISHED, RunStatus
from breakbulk.errors import UnknownJob
from breakbulk.web.live import is_fragment, unless_unchanged
from breakbulk.web.query import number_in, text_in

#: Active runs on the first page; who has more looks at the list.
_ACTIVE = 50
_RECENT = 15
_PAGE = 50


@view_config(
    route_name="overview", request_method="GET", renderer="breakbulk.web:templates/overview.jinja2"
)
def overview(request: Request) -> dict[str, Any]:
    """Active and recent runs, and what is in their way."""
    bulk = request.bulk
    unless_unchanged(request, bulk.tag())
    active = bulk.runs(statuses=ACTIVE, limit=_ACTIVE)
    recent = bulk.runs(statuses=FINISHED, limit=_RECENT)
    progress = bulk.progress_of([*active, *recent])
    workers = bulk.workers()
    warnings = [
        (run, progress[run.id].waits or run.reason)
        for run in active
        if progress[run.id].waits or run.status is RunStatus.HELD
    ]
    return {
        "fragment": is_fragment(request),
        "active": active,
        "recent": recent,
        "progress": progress,
        "warnings": warnings,
        "workers": workers,
        "rate": sum(one.rate for one in progress.values()),
        "lanes": sum(one.lanes for one in progress.values()),
        "slots": sum(worker.slots for worker in workers),
    }


@view_config(
    route_name="runs", request_method="GET", renderer="breakbulk.web:templates/runs.jinja2"
)
def runs(request: Request) -> dict[str, Any]:
    """All runs, a page at a time, those of a job or a status if one is chosen."""
    bulk = request.bulk
    job, status = text_in(request, "job"), text_in(request, "status")
    statuses = [RunStatus(status)] if status in set(RunStatus) else None
    try:
        found: list[Run] = bulk.runs(
            job=job, statuses=statuses, before=number_in(request, "before"), limit=_PAGE + 1
        )
    except UnknownJob:
        found = []
    page = found[:_PAGE]
    return {
        "runs": page,
        "progress": bulk.progress_of(page),
        "job": job,
        "status": status if statuses else None,
        "older": page[-1].id if len(found) > _PAGE else None,
        "known_jobs": [spec.name for spec in bulk.jobs],
    }
