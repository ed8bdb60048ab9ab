"""Jobs, and what a run of one would do."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request

from breakbulk.jobs import JobSpec
from breakbulk.web.api.guard import changes, reads


@reads("api.jobs")
def jobs(request: Request) -> dict[str, Any]:
    """Every job of the application."""
    return {"items": [_shown(spec) for spec in request.bulk.jobs]}


@reads("api.job")
def job(request: Request) -> dict[str, Any]:
    """One job."""
    return _shown(request.bulk.jobs.get(request.matchdict["job"]))


@changes("api.plans")
def plan(request: Request) -> dict[str, Any]:
    """What a run would do; nothing is written."""
    planned: dict[str, Any] = request.bulk.plan(
        built(request), queue=request.json_body.get("queue"), **sized(request)
    ).as_dict()
    return planned


def built(request: Request) -> Any:
    """The job that the body describes."""
    given = request.json_body
    return request.bulk.jobs.get(given["job"]).build(given.get("parameters", {}))


def sized(request: Request) -> dict[str, Any]:
    """How large the body wants chunks."""
    given = request.json_body
    return {name: given.get(name) for name in ("chunk_size", "chunk_seconds")}


def _shown(spec: JobSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.doc,
        "description": spec.text,
        "parameters": spec.json_schema(),
        "options": {
            "chunk_size": spec.options.chunk_size,
            "chunk_seconds": spec.options.chunk_seconds,
            "max_lanes": spec.options.max_lanes,
            "queue": spec.options.queue,
            "throttle": spec.options.throttle.as_dict(),
        },
    }
