"""What goes on, and what has ended lately."""

from __future__ import annotations

from datetime import timedelta
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
_LATELY = timedelta(hours=24)
_PERIODS = {
    "1 h": timedelta(hours=1),
    "24 h": _LATELY,
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
}
_GROUPS = {"active": ACTIVE, "ended": FINISHED}


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
    workers = bulk.live_workers()
    with bulk.reading() as connection:
        ledger = bulk.runtime.ledger
        failed = ledger.runs.chunks_failed(connection, _LATELY.total_seconds())
        lanes = ledger.lanes.count(connection)
        # Asked after the list: what has begun since then is one more.
        active_count = max(ledger.runs.count_active(connection), len(active))
    warnings = [
        (run, progress[run.id].waits or run.reason)
        for run in active
        if run.status is RunStatus.HELD or (progress[run.id].waits and not progress[run.id].later)
    ]
    return {
        "fragment": is_fragment(request),
        "active": active,
        "active_count": active_count,
        "recent": recent,
        "progress": progress,
        "warnings": warnings,
        "workers": workers,
        "rate": sum(one.rate for one in progress.values()),
        "lanes": lanes,
        "slots": sum(worker.slots for worker in workers),
        "failed_lately": failed + sum(progress[run.id].chunks_failed for run in active),
        **_choices(request),
    }


@view_config(
    route_name="runs", request_method="GET", renderer="breakbulk.web:templates/runs.jinja2"
)
def runs(request: Request) -> dict[str, Any]:
    """All runs, a page at a time, or those that are searched for."""
    bulk = request.bulk
    chosen = _choices(request)
    status = chosen["status"]
    try:
        found: list[Run] = bulk.runs(
            job=chosen["job"],
            statuses=_GROUPS.get(status, [status]) if status else None,
            submitted_by=chosen["by"],
            within=_PERIODS.get(chosen["since"]),
            before=number_in(request, "before"),
            limit=_PAGE + 1,
        )
    except UnknownJob:
        found = []
    page = found[:_PAGE]
    return {
        "runs": page,
        "progress": bulk.progress_of(page),
        "older": page[-1].id if len(found) > _PAGE else None,
        **chosen,
    }


def _choices(request: Request) -> dict[str, Any]:
    """What is searched for, and what may be."""
    status, since = text_in(request, "status"), text_in(request, "since")
    known = [*_GROUPS, *map(str, RunStatus)]
    return {
        "job": text_in(request, "job"),
        "status": status if status in known else None,
        "by": text_in(request, "by"),
        "since": since if since in _PERIODS else None,
        "known_jobs": [spec.name for spec in request.bulk.jobs],
        "known_statuses": known,
        "known_periods": list(_PERIODS),
    }
