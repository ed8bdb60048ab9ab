"""Jobs, and what a run of one would do."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

from pyramid.request import Request

from breakbulk.jobs import JobSpec
from breakbulk.web.api.guard import changes, reads

#: Tags by class: what is told of a job stays the same in a process, and takes long to put together.
_marks: WeakKeyDictionary[type[Any], str] = WeakKeyDictionary()


def _of_each(request: Request) -> str:
    """The tag of all jobs."""
    return "-".join(_mark(spec) for spec in request.bulk.jobs)


def _of_job(request: Request) -> str:
    """The tag of the job in the address."""
    return _mark(request.bulk.jobs.get(request.matchdict["job"]))


@reads("api.jobs", _of_each)
def jobs(request: Request) -> dict[str, Any]:
    """Every job of the application."""
    return {"items": [_shown(spec) for spec in request.bulk.jobs]}


@reads("api.job", _of_job)
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


def _mark(spec: JobSpec) -> str:
    if spec.cls not in _marks:
        told = json.dumps(_shown(spec), sort_keys=True)
        _marks[spec.cls] = hashlib.sha256(told.encode()).hexdigest()[:20]
    return _marks[spec.cls]


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
