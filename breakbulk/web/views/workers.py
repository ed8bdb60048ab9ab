"""Who works, and whether the installation is in order."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import view_config

import breakbulk
from breakbulk.web.live import is_fragment, unless_unchanged


@view_config(
    route_name="workers", request_method="GET", renderer="breakbulk.web:templates/workers.jinja2"
)
def workers(request: Request) -> dict[str, Any]:
    """Workers with their lanes; the doctor when asked, because he also asks the broker."""
    bulk, asked = request.bulk, "doctor" in request.GET
    if not asked:
        unless_unchanged(request, bulk.tag())
    lanes: dict[Any, list[Any]] = {}
    for lane in bulk.lanes():
        lanes.setdefault(lane.worker_id, []).append(lane)
    with bulk.reading() as connection:
        health = bulk.runtime.ledger.vitals.health(connection)
    current, needed = bulk.schema_version()
    workers = bulk.workers()
    return {
        "fragment": is_fragment(request),
        "workers": workers,
        "live": {worker.id for worker in bulk.live_workers()},
        "lanes": lanes,
        "backlog": bulk.backlog(),
        "health": health,
        # On SQLite a lock says whether a worker lives; its lease says nothing.
        "leases": bulk.runtime.database.is_postgresql,
        "lease_seconds": bulk.runtime.settings.lease_seconds,
        "versions": sorted({worker.version for worker in workers} | {breakbulk.__version__}),
        "version": breakbulk.__version__,
        "schema_version": current,
        "schema_needed": needed,
        "findings": bulk.doctor() if asked else None,
    }
