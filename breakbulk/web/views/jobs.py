"""What can be run: each job with its text, its form, its plan and its earlier runs."""

from __future__ import annotations

import inspect
import secrets
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.view import view_config

from breakbulk.domain.deadline import parse_deadline
from breakbulk.domain.throttle import NO_THROTTLE
from breakbulk.errors import BreakbulkError, SourceError
from breakbulk.jobs import JobSpec
from breakbulk.web import protection
from breakbulk.web.access import OPERATE
from breakbulk.web.forms import fields_of, size_of, values_of
from breakbulk.web.limits import limit_fields, limits_of
from breakbulk.web.spark import spark

_EARLIER = 10
_COMPARED = 30
_TEMPLATE = "breakbulk.web:templates/job.jinja2"


@view_config(
    route_name="jobs", request_method="GET", renderer="breakbulk.web:templates/jobs.jinja2"
)
def jobs(request: Request) -> dict[str, Any]:
    """Every job of the application."""
    return {"jobs": list(request.bulk.jobs)}


@view_config(route_name="job", request_method="GET", renderer=_TEMPLATE)
def job(request: Request) -> dict[str, Any]:
    """One job, ready to be started."""
    return _page(request, request.bulk.jobs.get(request.matchdict["job"]))


@view_config(route_name="job", request_method="POST", renderer=_TEMPLATE, permission=OPERATE)
def start(request: Request) -> Any:
    """Plan it, or start it; whatever does not fit is told beside what was typed."""
    protection.check(request)
    bulk = request.bulk
    spec = bulk.jobs.get(request.matchdict["job"])
    given = dict(request.POST)
    end = given.get("finish_by", "").strip()
    try:
        made = bulk.build(spec.name, values_of(spec, given))
        if given.get("act") != "start":
            return _page(request, spec, given, plan=bulk.plan(made, **size_of(given)))
        run = bulk.submit(
            made,
            overlap="wait" if given.get("overlap") == "wait" else "refuse",
            idempotency_key=given.get("once") or None,
            submitted_by=request.access.user,
            finish_by=parse_deadline(end) if end else None,
            **limits_of(given),
            **size_of(given),
        )
    except BreakbulkError as error:
        request.response.status_int = 422
        # Of an iterable that ended early: the same form goes on there, for it has the same key.
        ended = error.run_id if isinstance(error, SourceError) else None
        return _page(request, spec, given, trouble=str(error), ended=ended)
    return HTTPSeeOther(request.route_path("run", run=run.id))


def _page(
    request: Request,
    spec: JobSpec,
    given: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    runs = request.bulk.runs(job=spec.name, limit=_COMPARED)
    progress = request.bulk.progress_of(runs)
    return {
        "spec": spec,
        "fields": fields_of(spec, given),
        "source": _source(spec),
        "earlier": runs[:_EARLIER],
        "spark": spark(runs, progress),
        "progress": progress,
        # However often the button is pressed, this form starts one run.
        "once": (given or {}).get("once") or f"form-{secrets.token_urlsafe(12)}",
        "finish_by": (given or {}).get("finish_by", ""),
        "limits": limit_fields(spec.options.throttle, given),
        # What was typed there is to be seen beside what is wrong with it.
        "limits_typed": any((given or {}).get(one.key) for one in limit_fields(NO_THROTTLE)),
        "waits": (given or {}).get("overlap") == "wait",
        "size": {name: (given or {}).get(name, "") for name in ("chunk_size", "chunk_seconds")},
        "plan": None,
        "trouble": None,
        "ended": None,
        **more,
    }


def _source(spec: JobSpec) -> str | None:
    if any(one.masked and not one.required for one in spec.parameters.values()):
        # It holds the secret's default.
        return None
    try:
        return inspect.getsource(spec.cls)
    except (OSError, TypeError):
        return None
