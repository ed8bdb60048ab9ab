"""Who works."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request

from breakbulk.web.api.guard import reads


@reads("api.workers")
def workers(request: Request) -> dict[str, Any]:
    """Registered workers."""
    return {"items": [worker.as_dict() for worker in request.bulk.workers()]}
