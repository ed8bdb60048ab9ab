"""Who works, and what is left to do."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request

from breakbulk.web.api.guard import of_all, reads


@reads("api.workers", of_all)
def workers(request: Request) -> dict[str, Any]:
    """Registered workers."""
    return {"items": [worker.as_dict() for worker in request.bulk.workers()]}


@reads("api.backlog", of_all)
def backlog(request: Request) -> dict[str, Any]:
    """The work that is left."""
    left: dict[str, Any] = request.bulk.backlog().as_dict()
    return left
