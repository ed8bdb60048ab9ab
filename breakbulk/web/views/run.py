"""One run: how far it is, what failed, who did what, and a button for each thing one may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.view import view_config

from breakbulk import RunHandle
from breakbulk.console import words
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import ParameterError
from breakbulk.web import protection
from breakbulk.web.access import OPERATE
from breakbulk.web.limits import limit_fields, limits_of
from breakbulk.web.live import is_fragment, unless_unchanged
from breakbulk.web.plot import plot

#: Fewer than a run may have: as many links as one can still aim at.
_CELLS = 1000
_ACTIVITY = 30
_SLOWEST = 5
_EVENTS = 20
_DIGITS = 9
#: Characters of a reason; the form's field takes as many.
_LONGEST = 500

_PAUSABLE = {RunStatus.LOADING, RunStatus.RUNNING}
_RESUMABLE = {RunStatus.PAUSING, RunStatus.PAUSED, RunStatus.HELD}
#: What is done without being asked again, as its button says it.
_PLAIN = {
    "pause": "Pause",
    "resume": "Resume",
    "retry": "Retry {}",
    "finish": "Call back again",
}
RETRYABLE = {RunStatus.PARTIAL, RunStatus.FAILED}


@view_config(route_name="run", request_method="GET", renderer="breakbulk.web:templates/run.jinja2")
def run(request: Request) -> dict[str, Any]:
    """The run as it is now."""
    handle: RunHandle = request.bulk.run(int(request.matchdict["run"]))
    unless_unchanged(request, handle.tag())
    seen = handle.picture(cells=_CELLS, slowest=_SLOWEST, activity=_ACTIVITY, events=_EVENTS)
    record, progress = seen.run, seen.progress
    can = _verbs(record.status, progress.chunks_failed, callback=record.callback_failed)
    failed = words.counted(progress.chunks_failed, f"failed {record.nouns.chunk}")
    return {
        "fragment": is_fragment(request),
        "run": record,
        "progress": progress,
        "parameters": request.bulk.shown_parameters(record),
        "known": record.job in request.bulk.jobs.all(),
        "map": seen.map,
        "series": seen.series,
        "plot": plot(seen.series),
        "groups": seen.groups,
        "slowest": seen.slowest,
        "activity": seen.activity,
        "lanes": seen.lanes,
        "limits": limit_fields(record.throttle),
        "events": seen.events,
        "late": _late(record, progress),
        "sizes": seen.sizes,
        "can": can,
        "plain": {verb: label.format(failed) for verb, label in _PLAIN.items() if verb in can},
    }


@view_config(route_name="verb", request_method="POST", permission=OPERATE)
def verb(request: Request) -> HTTPSeeOther:
    """Do what a button says, in the name of whoever pressed it."""
    protection.check(request)
    handle: RunHandle = request.bulk.run(int(request.matchdict["run"]))
    by = request.access.user
    reason = request.POST.get("reason", "").strip()[:_LONGEST] or None
    acts: dict[str, Callable[[], object]] = {
        "pause": lambda: handle.pause(by=by, reason=reason),
        "resume": lambda: handle.resume(by=by, reason=reason),
        "cancel": lambda: handle.cancel(by=by, reason=reason),
        "force": lambda: handle.cancel(force=True, by=by, reason=reason),
        "lanes": lambda: handle.limit_lanes(_lanes(request), by=by),
        "limits": lambda: handle.limit(by=by, **limits_of(request.POST)),
        "retry": lambda: handle.retry(
            error=request.POST.get("error") or None,
            chunk=request.POST.get("chunk") or None,
            by=by,
            reason=reason,
        ),
        "finish": lambda: handle.finish(by=by, reason=reason),
    }
    acts[request.matchdict["verb"]]()
    return HTTPSeeOther(request.route_path("run", run=handle.id))


def _late(run: Run, progress: Progress) -> bool:
    """Whether it has missed its deadline, or will at this pace."""
    if run.finish_by is None:
        return False
    # By the database's clock: what has passed since the submit is what it says.
    since_submit = progress.stood + progress.elapsed
    left = (run.finish_by - run.submitted_at).total_seconds() - since_submit
    return left < (0.0 if run.status in FINISHED else progress.eta or 0.0)


def _lanes(request: Request) -> int | None:
    """What a button says, or what somebody typed: "all", or a number."""
    text: str = request.POST.get("lanes", "")
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < _DIGITS):
        raise ParameterError(f"{text[:20]!r} is no number of lanes: give one, or 'all'.")
    return int(text)


def _verbs(status: RunStatus, failed: int, *, callback: bool) -> set[str]:
    """What may be done about a run in this status."""
    found = set()
    if status in _PAUSABLE:
        found.add("pause")
    if status in _RESUMABLE:
        found.add("resume")
    if status not in FINISHED | {RunStatus.CANCELLING, RunStatus.FINISHING}:
        found.add("cancel")
        found |= {"lanes", "limits"}
    if status is RunStatus.CANCELLING:
        found.add("force")
    if status in RETRYABLE and failed:
        found.add("retry")
    if status is RunStatus.FAILED and callback:
        found.add("finish")
    return found
