"""Runs: started, looked at, steered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pyramid.request import Request

from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.errors import ParameterError, UnknownJob
from breakbulk.web.api.guard import changes, of_all, of_run, reads
from breakbulk.web.api.jobs import built, sized
from breakbulk.web.api.paging import limit_of, number_of, page


@reads("api.runs", of_all)
def runs(request: Request) -> dict[str, Any]:
    """A page of runs, newest first."""
    query, limit = request.openapi_validated.parameters.query, limit_of(request)
    statuses = [RunStatus(status) for status in query.get("status", ())] or None
    try:
        found: list[Run] = request.bulk.runs(
            job=query.get("job"), statuses=statuses, before=number_of(request), limit=limit + 1
        )
    except UnknownJob:
        found = []
    return page(request, found, limit, lambda run: (run.id,), lambda run: _shown(request, run))


@changes("api.runs")
def submit(request: Request) -> dict[str, Any]:
    """Start a run; it is told in the name of whoever asks."""
    given = request.json_body
    submitted = request.bulk.submit(
        built(request),
        queue=given.get("queue"),
        **sized(request),
        overlap=given.get("overlap", "refuse"),
        idempotency_key=request.headers.get("Idempotency-Key"),
        submitted_by=request.access.user,
        countdown=given.get("countdown"),
        eta=_moment(given, "eta"),
        finish_by=_moment(given, "finish_by"),
        **given.get("limits", {}),
    )
    request.response.status_int = 202
    request.response.location = request.route_path("api.run", run=submitted.id)
    return {"created": submitted.created, "run": _shown(request, submitted.record())}


@reads("api.run", of_run)
def run(request: Request) -> dict[str, Any]:
    """One run, and how far it is."""
    record = request.handle.record()
    progress = request.bulk.progress_of([record])[record.id]
    return {
        "run": _shown(request, record),
        "progress": progress.as_dict(),
        "sizes": [size.as_dict() for size in request.handle.sizes()],
    }


@reads("api.activity", of_run)
def activity(request: Request) -> dict[str, Any]:
    """A page of who did what, newest first."""
    limit = limit_of(request)
    found = request.handle.activity(limit + 1, before=number_of(request))
    return page(request, found, limit, lambda one: (one.id,), lambda one: one.as_dict())


@changes("api.pause")
def pause(request: Request) -> dict[str, Any]:
    """Stop after the chunks in hand."""
    return _steered(request, request.handle.pause(**_said(request)))


@changes("api.resume")
def resume(request: Request) -> dict[str, Any]:
    """Go on."""
    return _steered(request, request.handle.resume(**_said(request)))


@changes("api.cancel")
def cancel(request: Request) -> dict[str, Any]:
    """End it for good."""
    force = _given(request).get("force", False)
    return _steered(request, request.handle.cancel(force=force, **_said(request)))


@changes("api.lanes")
def lanes(request: Request) -> dict[str, Any]:
    """Let it have more lanes, or fewer."""
    request.handle.limit_lanes(request.json_body["lanes"], by=request.access.user)
    return _steered(request, request.handle.status())


@changes("api.limits")
def limits(request: Request) -> dict[str, Any]:
    """Change what it holds back on."""
    throttle = request.handle.limit(by=request.access.user, **request.json_body)
    return {"run": request.handle.id, "throttle": throttle.as_dict()}


@changes("api.retry")
def retry(request: Request) -> dict[str, Any]:
    """Open the next round with what failed."""
    given = _given(request)
    retried: dict[str, Any] = request.handle.retry(
        error=given.get("error"),
        chunk=given.get("chunk"),
        key=given.get("key"),
        **_said(request),
    ).as_dict()
    return retried


@changes("api.finish")
def finish(request: Request) -> dict[str, Any]:
    """Call back again."""
    return _steered(request, request.handle.finish(**_said(request)))


def _moment(given: dict[str, Any], name: str) -> datetime | None:
    """A time as JSON has it; that it looks like one, with a zone, has been checked."""
    try:
        return datetime.fromisoformat(given[name]) if name in given else None
    except ValueError as error:
        raise ParameterError(f"{name} is no time that there is.") from error


def _shown(request: Request, found: Run) -> dict[str, Any]:
    return found.as_dict(request.bulk.shown_parameters(found))


def _given(request: Request) -> dict[str, Any]:
    given: dict[str, Any] = request.json_body if request.body else {}
    return given


def _said(request: Request) -> dict[str, Any]:
    """Who asks, and why."""
    return {"by": request.access.user, "reason": _given(request).get("reason")}


def _steered(request: Request, status: RunStatus) -> dict[str, Any]:
    return {"run": request.handle.id, "status": str(status)}
