"""Calling a task's own code as a Celery worker would, and telling how that ended.

Celery's tracer does it: what surrounds a task (its signals, its handlers, ``autoretry_for``, tools
that wrap the tracer) is as everywhere else. It is told that the task is eager, so that nothing is
stored or sent by it, and so that ``retry()`` leaves the retry to its caller.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import Celery, signals, states
from celery.app import trace
from celery.app.task import Context
from celery.exceptions import (
    Ignore,
    NotRegistered,
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)
from celery.result import allow_join_result
from celery.utils.time import maybe_make_aware

from breakbulk.errors import TaskUnworkable
from breakbulk.parts.limits import limited
from breakbulk.parts.signatures import Step

log = logging.getLogger("breakbulk.parts")

_TOO_LONG = (SoftTimeLimitExceeded, TimeLimitExceeded)
#: Handlers of a task that are called when its outcome is known.
_LATE_HANDLERS = ("on_success", "after_return")
#: Held while a task is changed for the building of its tracer.
_building = threading.Lock()


@dataclass(frozen=True, slots=True)
class Done:
    """It has returned a value; None of a task that ignores its result, or was ignored itself."""

    value: Any


@dataclass(frozen=True, slots=True)
class Retried:
    """It wants to be tried again.

    Attributes:
        seconds: until then.
        cause: why.
        retries: what ``request.retries`` is to be then.
        args, kwargs: what it is to be called with then.
        limits: soft and hard time limit of then, where it has named any.
    """

    seconds: float
    cause: BaseException
    retries: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    limits: dict[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """It has failed for good."""

    cause: BaseException


@dataclass(frozen=True, slots=True)
class Rejected:
    """It has rejected its message.

    Attributes:
        requeue: it is to be called again.
    """

    requeue: bool
    reason: str


End = Done | Retried | Failed | Rejected

#: What tells a request of ours from one of a task that is called in another way.
_OURS = "breakbulk_part"

#: Where a task keeps its tracer, as a worker keeps one in ``__trace__``.
_TRACER = "__breakbulk_tracer__"


def task_of(app: Celery, name: str) -> Any:
    """A task of the application by its name.

    Raises:
        TaskUnworkable: this process does not know it.
    """
    try:
        return app.tasks[name]
    except NotRegistered:
        raise TaskUnworkable(
            f"The task {name} is not known to this worker: name its module in Celery's imports"
            " (or autodiscover_tasks), restart the workers and resume the run.",
            name,
        ) from None


def limits_of(task: Any, step: Step, changed: Mapping[str, float]) -> list[float | None]:
    """Hard and soft limit in seconds: as a retry named them, the signature, the task, the app."""
    conf = task.app.conf
    found: list[float | None] = []
    for name in ("time_limit", "soft_time_limit"):
        wanted = (
            changed.get(name),
            step.options.get(name),
            getattr(task, name, None),
            conf.get(f"task_{name}"),
        )
        found.append(next((float(one) for one in wanted if one), None))
    return found


def call(task: Any, request: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> End:
    """Call a task.

    Args:
        request: what it is to see as its request, beside its arguments.

    Raises:
        BaseException: what no tracer catches, such as ``SystemExit``.
    """
    app = task.app
    expires = request.get("expires")
    if expires is not None and app.now() > maybe_make_aware(expires, app.timezone):
        revoked = Context(request, args=args, kwargs=kwargs)
        signals.task_revoked.send(
            sender=task, request=revoked, terminated=False, signum=None, expired=True
        )
        return Failed(TaskRevokedError("expired"))
    return _traced(task, request, args, kwargs)


def _traced(
    task: Any, request: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> End:
    tracer = _tracer(task, request["hostname"])
    hard, soft = request.get("timelimit") or (None, None)
    try:
        with limited(soft, hard, task.name) as limits:
            traced = tracer(request["id"], args, kwargs, {**request, _OURS: True})
    except Reject as rejected:
        return _rejected(rejected)
    except _TOO_LONG as late:
        # Past the tracer: in one of its handlers, or just behind its end.
        return Failed(late)
    if limits.ended is not None:
        # It may have been swallowed. In a worker of Celery's the process would be gone.
        return Failed(limits.ended)
    if traced.info is None:
        return Done(None if _ignores_result(task, request) else traced.retval)
    cause = traced.info.retval
    if isinstance(cause, SoftTimeLimitExceeded) and limits.fired is None:
        # Of the lane, whose limits are the team's for all tasks: not the part's fault.
        raise cause
    ends: dict[str, Callable[[], End]] = {
        states.RETRY: lambda: _retried(task.app, cause, request, args, kwargs),
        states.IGNORED: lambda: _ignored(task, cause, request),
        states.REJECTED: lambda: _rejected(cause),
    }
    return ends.get(traced.info.state, lambda: Failed(cause))()


def _ignored(task: Any, ignored: BaseException, request: Mapping[str, Any]) -> Done:
    if isinstance(ignored, _Replaced) and not _ignores_result(task, request):
        return Done(ignored.value)
    return Done(None)


def _rejected(reject: Any) -> Rejected:
    return Rejected(bool(reject.requeue), str(reject.reason))


def _ignores_result(task: Any, request: Mapping[str, Any]) -> bool:
    wanted = request.get("ignore_result")
    return bool(task.ignore_result if wanted is None else wanted)


def _retried(
    app: Celery,
    retry: Any,
    request: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Retried:
    """What ``retry()`` has asked for; whoever raises a bare ``Retry`` is called as before."""
    when = retry.when
    seconds = 0.0
    if isinstance(when, datetime):
        seconds = (maybe_make_aware(when, app.timezone) - app.now()).total_seconds()
    elif when is not None:
        seconds = float(when)
    retries, limits = int(request["retries"]) + 1, {}
    if retry.sig is not None:
        args, kwargs = tuple(retry.sig.args), dict(retry.sig.kwargs)
        options = retry.sig.options
        limits = {
            name: float(options[name])
            for name in ("time_limit", "soft_time_limit")
            if options.get(name)
        }
    return Retried(max(0.0, seconds), retry.exc or retry, retries, args, kwargs, limits)


def _tracer(task: Any, hostname: str) -> Any:
    # Looked up anew: tools that watch tasks put their own builder there.
    build = trace.build_tracer
    known: tuple[Any, Any] | None = vars(task).get(_TRACER)
    if known is None or known[0] is not build:
        # In a pool of threads several lanes may meet a task for the first time.
        with _building, _forgiving(task):
            made = build(
                task.name, task, app=task.app, eager=True, propagate=False, hostname=hostname
            )
            if known is None:
                task.on_replace = _at_once(task)
            known = vars(task)[_TRACER] = (build, made)
    return known[1]


@contextmanager
def _forgiving(task: Any) -> Iterator[None]:
    """Let a tracer that is built now find handlers that log what they raise, as in a worker.

    By then the task has succeeded, and an eager tracer would let it out.
    """
    own = {name: vars(task)[name] for name in _LATE_HANDLERS if name in vars(task)}
    for name in _LATE_HANDLERS:
        setattr(task, name, _logging(getattr(task, name), name, task.name))
    try:
        yield
    finally:
        for name in _LATE_HANDLERS:
            delattr(task, name)
        vars(task).update(own)


class _Replaced(Ignore):
    """A task has had another one run in its place: as in a worker, ``replace()`` does not return.

    Attributes:
        value: what that has returned.
    """

    def __init__(self, value: Any) -> None:
        super().__init__("Replaced by another task")
        self.value = value


def _at_once(task: Any) -> Callable[[Any], Any]:
    """Let ``replace()`` run the other one here, for nobody is waited for, and end the task."""
    on_replace = task.on_replace

    def replace(signature: Any) -> Any:
        ours = task.request.get(_OURS, False)
        with allow_join_result():
            value = on_replace(signature)
        if ours:
            raise _Replaced(value)
        return value

    return replace


def _logging(handler: Callable[..., Any], name: str, task: str) -> Callable[..., None]:
    def handle(*given: Any) -> None:
        try:
            handler(*given)
        except (Reject, MemoryError):
            raise
        except Exception:  # the outcome is known already
            log.exception("%s of the task %s has raised", name, task)

    return handle
