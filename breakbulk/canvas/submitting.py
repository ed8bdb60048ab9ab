"""From a group, a chord or a chain to a run, or to two where tasks come before the group."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from celery import Celery, Signature, current_app, current_task
from celery.utils.time import maybe_make_aware

from breakbulk.app import Breakbulk, RunHandle
from breakbulk.app.handle import who
from breakbulk.canvas.handle import CanvasResult
from breakbulk.domain.failing import FailurePolicy, OnFailure, Tolerance
from breakbulk.domain.nouns import CANVAS_JOB
from breakbulk.domain.retry import RetryPolicy
from breakbulk.errors import CanvasError, ConfigurationError
from breakbulk.parts.signatures import LATER, Item, as_json, item_of, queue_of, tasks_of
from breakbulk.runner.awaiting import leading_key
from breakbulk.runner.submit import Order
from breakbulk.settings import LANE_TASK

#: A part whose child was killed is soon tried again; what the part itself raises is its own affair.
_AFTER_DEATHS = RetryPolicy(
    max_retries=5, retry_backoff=1.0, retry_backoff_max=60.0, retry_jitter=False
)
#: The back-stop behind the tasks' own time limits, in seconds: a child that takes longer is ended.
_PART_TIMEOUT = 86_400.0


@dataclass(frozen=True, slots=True)
class Application:
    """A canvas that is applied.

    Attributes:
        app: the Celery application of its tasks; None where only the parts can tell.
        parts: read once.
        leading: tasks that run before the parts.
        following: the body and what is linked behind it.
        args, kwargs: for whatever comes first.
        links: to be sent with the body's result.
        errbacks: to be told of a failure.
    """

    app: Celery | None
    parts: Iterator[Any]
    leading: list[Signature] = field(default_factory=list)
    following: list[Signature] = field(default_factory=list)
    on_failure: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    links: list[Any] = field(default_factory=list)
    errbacks: list[Any] = field(default_factory=list)


def begin(
    applied: Application,
    *,
    countdown: float | None,
    eta: datetime | None,
    queue: str | None,
    session: Any,
    idempotency_key: str | None,
) -> CanvasResult:
    """Begin the run.

    Raises:
        CanvasError: something of it cannot be run.
        ConfigurationError: no ``Breakbulk`` was made for the Celery application.
    """
    rows: Iterator[list[Signature]] = filter(None, map(tasks_of, applied.parts))
    first = next(rows, None)
    if first is not None:
        rows = itertools.chain([first], rows)
    heads = [*applied.leading, *(first or ()), *applied.following]
    app = applied.app or next(filter(None, map(app_of, heads)), None)
    bulk = ledger_of(app or current_app)
    assert bulk.broker is not None
    celery: Celery = bulk.broker.app
    if not queue:
        queue = None if not heads else queue_of(heads[0])
    place = bulk.broker.queue_for(queue, heads[0].task if heads else LANE_TASK)
    now = celery.now()
    if eta is not None:
        eta = maybe_make_aware(eta, celery.timezone)
    order = Order.checked(place, who(), idempotency_key, "allow", (), countdown=countdown, eta=eta)
    args, kwargs = ((), {}) if applied.leading else (applied.args, applied.kwargs)
    items = (item_of(tasks, now, queue=place, args=args, kwargs=kwargs) for tasks in rows)
    errbacks = as_json(applied.errbacks, "an error callback")
    body = _body(applied, now, place)
    of_parts = applied.errbacks if _each_part(celery, applied) else ()
    values: dict[str, Any] = {
        "header": first[0].task if first else "",
        "body": body,
        "on_failure": applied.on_failure,
        "queue": place,
        "incoming": bool(applied.leading),
        "errbacks": [] if body is None and not applied.leading else errbacks,
        "part_errbacks": as_json(list(of_parts), "an error callback"),
        # A second apply with the same key may come from elsewhere, and is the same all the same.
        **({} if idempotency_key else _origin()),
    }
    order = replace(order, policy=_policy(applied.on_failure), awaits=bool(applied.leading))
    if not applied.leading:
        run = _place(bulk, values, items, order, session)
        return CanvasResult(bulk, run)
    # Nothing is to come before the run that awaits the value is there.
    start, order = order.not_before, replace(order, not_before=None)
    run = _place(bulk, values, items, order, session)
    lead = item_of(applied.leading, now, queue=place, args=applied.args, kwargs=applied.kwargs)
    key = leading_key(run.id, idempotency_key)
    leading = _place(
        bulk,
        {
            "header": applied.leading[0].task,
            "queue": place,
            "releases": int(run.id),
            **({} if idempotency_key else _origin()),
        },
        iter([lead]),
        replace(order, awaits=False, not_before=start, idempotency_key=key, policy=_policy(None)),
        session,
    )
    return CanvasResult(bulk, run, leading)


def ledger_of(app: Celery) -> Breakbulk:
    """The ``Breakbulk`` of a Celery application.

    Raises:
        ConfigurationError: there is none.
    """
    bulk = Breakbulk.of(app)
    if bulk is None:
        raise ConfigurationError(
            f"No ledger is known for the Celery application {app.main!r}: write"
            " Breakbulk(database=…, celery=app) where the application is made."
        )
    return bulk


def app_of(given: Any) -> Celery | None:
    """The Celery application that a signature was made by; None if it does not say."""
    if not isinstance(given, Signature):
        return None
    own: Celery | None = getattr(given, "_app", None)
    return own or getattr(getattr(given, "_type", None), "app", None)


def _place(
    bulk: Breakbulk, values: dict[str, Any], items: Iterator[Item], order: Order, session: Any
) -> RunHandle:
    job = bulk.jobs.get(CANVAS_JOB).cls(**values)
    # Not a parameter: it is read once, here.
    object.__setattr__(job, "given", items)
    return bulk.starting.place(job, order, session=session)


def _body(applied: Application, now: datetime, queue: str) -> Item | None:
    """The body as an item, with what comes behind it linked to it."""
    if not applied.following:
        return None
    row = [task.clone() for task in applied.following]
    body = row[0]
    if any(body.options.get(name) is not None for name in LATER):
        raise CanvasError(
            f"The body {body.task} has a countdown or eta, but it is called as soon as the last"
            " part is done: take that away, or link the task that is to wait to a body."
        )
    for link in applied.links:
        row[-1].link(link)
    for behind in row[1:]:
        # Told by Celery, which sends them.
        for errback in applied.errbacks:
            behind.link_error(errback)
    for before, behind in reversed(list(itertools.pairwise(row))):
        before.link(behind)
    # It is called at once, and once.
    body.options.pop("expires", None)
    return item_of([body], now, queue=queue)


def _each_part(app: Celery, applied: Application) -> bool:
    """Whether error callbacks are told of each part that fails."""
    return not applied.following or bool(app.conf.task_allow_error_cb_on_chord_header)


def _policy(on_failure: str | None) -> FailurePolicy:
    """How a run treats parts that have failed for good; each says itself when it has."""
    return FailurePolicy(
        retry=_AFTER_DEATHS,
        on_failure=OnFailure(on_failure or "isolate"),
        tolerate=Tolerance(per_cent=100.0),
        chunk_timeout=_PART_TIMEOUT,
    )


def _origin() -> dict[str, str]:
    """The task that applies the canvas, if one does."""
    task: Any = current_task
    request = task.request if task else None
    if request is None or request.id is None:
        return {}
    return {"root_id": request.root_id or request.id, "parent_id": request.id}
