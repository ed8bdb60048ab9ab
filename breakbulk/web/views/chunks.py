"""Chunks: a page of them, and one with all that happened to it."""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.view import view_config

from breakbulk import ChunkStatus, RunHandle
from breakbulk.domain.chunk import BEHIND_PARTS, parse_chunk
from breakbulk.domain.status import UNFINISHED_CHUNK
from breakbulk.errors import ParameterError
from breakbulk.web.environment import goes_on
from breakbulk.web.live import is_fragment, unless_unchanged
from breakbulk.web.query import number_in, text_in
from breakbulk.web.timeline import timeline
from breakbulk.web.views.run import RETRYABLE

_PAGE = 100
#: No chunk has a higher number.
_MOST = 2**31 - 1


@view_config(
    route_name="chunks", request_method="GET", renderer="breakbulk.web:templates/chunks.jinja2"
)
def chunks(request: Request) -> dict[str, Any]:
    """A page of a run's chunks, those of a status if one is chosen."""
    handle: RunHandle = request.bulk.run(int(request.matchdict["run"]))
    status = text_in(request, "status")
    statuses = [ChunkStatus(status)] if status in set(ChunkStatus) else None
    found = handle.chunks(statuses=statuses, after=_after(request), limit=_PAGE + 1)
    page = found[:_PAGE]
    return {
        "run": handle.record(),
        "chunks": page,
        "status": status if statuses else None,
        "following": page[-1].name if len(found) > _PAGE else None,
    }


@view_config(
    route_name="chunk", request_method="GET", renderer="breakbulk.web:templates/chunk.jinja2"
)
def chunk(request: Request) -> dict[str, Any]:
    """One chunk: its bounds, its attempts, its parts, and the SQL that gives its rows."""
    handle: RunHandle = request.bulk.run(int(request.matchdict["run"]))
    unless_unchanged(request, handle.tag())
    number, path = parse_chunk(request.matchdict["chunk"])
    seen = handle.chunk_picture(number, path)
    if seen is None:
        raise HTTPNotFound
    status = seen.run.status
    return {
        "fragment": is_fragment(request),
        "run": seen.run,
        "chunk": seen.chunk,
        "failed_before": seen.before,
        "failed_after": seen.after,
        "parts": seen.parts,
        "attempts": seen.history.attempts,
        "spent": seen.history.spent,
        "timeline": timeline(seen.history.attempts, seen.history.at),
        "moving": seen.chunk.status in UNFINISHED_CHUNK and goes_on(status),
        "sql": seen.sql,
        "may_retry": status in RETRYABLE
        and any(part.status in {ChunkStatus.FAILED, ChunkStatus.SKIPPED} for part in seen.parts),
    }


def _after(request: Request) -> tuple[int, str] | None:
    first = number_in(request, "from")
    if first is not None:
        return (min(first, _MOST) - 1, BEHIND_PARTS)
    given = text_in(request, "after")
    try:
        return None if given is None else parse_chunk(given)
    except ParameterError:
        return None
