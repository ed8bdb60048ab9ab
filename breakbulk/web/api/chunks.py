"""Chunks, and what failed in them."""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request

from breakbulk.domain.chunk import parse_chunk
from breakbulk.domain.status import ChunkStatus
from breakbulk.web.api.guard import of_run, reads
from breakbulk.web.api.paging import limit_of, number_of, page, place_of

#: Of one chunk; more than there are tries, unless somebody insists.
_FAILURES = 50


@reads("api.chunks", of_run)
def chunks(request: Request) -> dict[str, Any]:
    """A page of chunks in the order of keys."""
    query, limit = request.openapi_validated.parameters.query, limit_of(request)
    statuses = [ChunkStatus(status) for status in query.get("status", ())] or None
    after = place_of(request, "a chunk")
    found = request.handle.chunks(statuses=statuses, after=after, limit=limit + 1)
    return page(
        request, found, limit, lambda one: (one.number, one.path), lambda one: one.as_dict()
    )


@reads("api.chunk", of_run)
def chunk(request: Request) -> dict[str, Any]:
    """One chunk, its relatives and its latest failed attempts."""
    number, path = parse_chunk(request.matchdict["chunk"])
    parts = request.handle.parts(number, path)
    found = next((part for part in parts if part.path == path), None)
    if found is None:
        raise HTTPNotFound(f"Run {request.handle.id} has no chunk {request.matchdict['chunk']}.")
    failures = request.handle.failures(_FAILURES, chunk=(number, path))
    return {
        "chunk": found.as_dict(),
        "parts": [part.as_dict() for part in parts if part is not found],
        "failures": [failure.as_dict() for failure in failures],
    }


@reads("api.failures", of_run)
def failures(request: Request) -> dict[str, Any]:
    """A page of failed attempts, newest first."""
    limit, error = limit_of(request), request.openapi_validated.parameters.query.get("error")
    found = request.handle.failures(limit + 1, error=error, before=number_of(request))
    return page(request, found, limit, lambda one: (one.id,), lambda one: one.as_dict())


@reads("api.failure_groups", of_run)
def groups(request: Request) -> dict[str, Any]:
    """Failed attempts by class and place."""
    return {"items": [group.as_dict() for group in request.handle.failure_groups()]}


@reads("api.quarantine", of_run)
def quarantine(request: Request) -> dict[str, Any]:
    """A page of rows that were put aside."""
    limit = limit_of(request)
    found = request.handle.errors(after=number_of(request) or 0, limit=limit + 1)
    return page(request, found, limit, lambda one: (one.id,), lambda one: one.as_dict())
