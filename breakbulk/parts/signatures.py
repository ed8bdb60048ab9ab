"""Celery signatures as items of a run: JSON values, and back.

A part of a canvas is one task, or a chain of tasks that are run one after the other. As an item it
holds what calling it needs and nothing of how a message would be sent: there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from celery import Celery, Signature, chain
from celery.canvas import maybe_signature
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, object_hook

from breakbulk.errors import CanvasError

#: What of a signature's options counts where no message is sent.
OF_PARTS = frozenset(
    {
        "eta",
        "expires",
        "headers",
        "ignore_result",
        "link",
        "link_error",
        "shadow",
        "soft_time_limit",
        "task_id",
        "time_limit",
    }
)
#: What lets a task begin later.
LATER = ("countdown", "eta")
_ROUTES = ("exchange", "routing_key")
#: What may stand where one task may.
_ONE_TASK = (None, "", "xmap", "starmap")
_CHUNKS = "celery.chunks"
#: What a signature that was written by hand must have, if it has it.
_FORMS: dict[str, type | tuple[type, ...]] = {
    "args": (list, tuple),
    "kwargs": dict,
    "options": dict,
}

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One task of a part, or the body.

    Attributes:
        options: those of its signature that count.
        immutable: it takes no value of whoever comes before it.
    """

    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    immutable: bool = False

    def given(self, *values: Any) -> tuple[Any, ...]:
        """Its positional arguments behind those that come from before it."""
        return self.args if self.immutable else (*values, *self.args)

    def listed(self, name: str) -> list[Any]:
        """What an option holds one of, or several."""
        found = self.options.get(name)
        return [] if found is None else found if isinstance(found, list) else [found]


def tasks_of(given: Any, app: Celery | None = None) -> list[Signature]:
    """The tasks of a part in their order: one, those of a chain, or none of an empty chain.

    Raises:
        CanvasError: it is no signature, or one that cannot be a part.
    """
    try:
        found: Any = maybe_signature(given, app=app) if isinstance(given, dict) else given
    except KeyError as unknown:
        # Celery looks up what is written there, and does not find it.
        raise CanvasError(
            f"A signature has the subtask_type {unknown}, which Celery does not know: make"
            " signatures with the task's s() or si()."
        ) from unknown
    if not isinstance(found, Signature) or not found.get("task"):
        raise CanvasError(
            f"A canvas is made of Celery signatures, as in add.s(2, 2), not of"
            f" {type(given).__name__}."
        )
    for name, form in _FORMS.items():
        if found.get(name) is not None and not isinstance(found[name], form):
            raise CanvasError(
                f"The {name} of {found['task']} are of type {type(found[name]).__name__}: make"
                " signatures with the task's s() or si()."
            )
    if found.options.get("stamped_headers"):
        raise CanvasError(
            f"{found['task']} is stamped, which a canvas does not keep: give what the stamps say as"
            " an argument, or as headers=."
        )
    kind = found.get("subtask_type")
    if kind == "chain":
        options = {name: found.options[name] for name in found.options if name != "task_id"}
        own = getattr(found, "_app", None) or app
        tasks = [task for one in found["kwargs"]["tasks"] for task in tasks_of(one, own)]
        if tasks and options:
            tasks = [task.clone() for task in tasks]
            _hand_on(options, tasks)
        return tasks
    if found["task"] == _CHUNKS:
        raise CanvasError(
            f"{_CHUNKS} sends a group of its own: give the canvas task.chunks(…).group() instead."
        )
    if kind not in _ONE_TASK:
        raise CanvasError(
            f"A {kind} cannot be a part or the body of a canvas: put its tasks into the one"
            " group, or let a task start a canvas of its own."
        )
    return [found]


def _hand_on(options: Mapping[str, Any], tasks: list[Signature]) -> None:
    """Give the options of a chain to those of its tasks that they are about."""
    first, last = tasks[0], tasks[-1]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if name == "link":
            last.options["link"] = [*_listed(last.options.get("link")), *values]
        elif name == "link_error":
            for task in tasks:
                task.options["link_error"] = [*_listed(task.options.get("link_error")), *values]
        else:
            first.options.setdefault(name, value)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def callbacks_of(given: Any) -> list[Any]:
    """What is to be sent, or called, when a task has ended: one signature, or several.

    Raises:
        CanvasError: it is something else.
    """
    found = _listed(given)
    for one in found:
        if not isinstance(one, dict) or not one.get("task"):
            raise CanvasError(
                f"link and link_error take Celery signatures, as in told.s(), not"
                f" {type(one).__name__}."
            )
    return found


def queue_of(signature: Signature) -> str | None:
    """The queue that a signature asks for by name; None if it leaves that to others."""
    queue = signature.options.get("queue")
    if queue is None:
        for name in _ROUTES:
            if signature.options.get(name):
                raise CanvasError(
                    f"{signature.task} has the option {name}: a canvas goes to one queue, so give"
                    " that to apply_async(queue=…) instead."
                )
        return None
    return str(getattr(queue, "name", queue))


def item_of(
    tasks: Iterable[Signature],
    now: datetime,
    *,
    queue: str | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Item:
    """A part as an item.

    Args:
        tasks: one or more, as :func:`tasks_of` gives them.
        now: what countdowns begin with.
        queue: where the canvas goes; a part that asks for another one is refused.
        args: put before the arguments of the first, unless it is immutable.
        kwargs: put over those of the first, likewise.

    Raises:
        CanvasError: it asks for what cannot be.
    """
    written: list[Item] = []
    for task in tasks:
        if written and any(task.options.get(name) is not None for name in LATER):
            raise CanvasError(
                f"{task.task} has a countdown or eta, but within a part one task is called as soon"
                " as the one before it is done: take that away, or link the task that is to wait."
            )
        one = _written(task, now, queue, args, kwargs)
        if written and isinstance(task.options.get("expires"), (int, float)):
            # Counted from when it is sent, and it is called as soon as it would be.
            del one["options"]["expires"]
        written.append(one)
        args, kwargs = (), None
    item = written[0] if len(written) == 1 else {"chain": written}
    plain: Item = as_json(item, written[0]["task"])
    return plain


def as_json(value: Any, whose: str) -> Any:
    """What Celery's JSON serializer makes of a value, as plain JSON values.

    Raises:
        CanvasError: it cannot.
    """
    try:
        return json.loads(dumps(value, allow_nan=False))
    except (EncodeError, TypeError, ValueError, RecursionError) as error:
        raise CanvasError(
            f"The arguments of {whose} cannot be kept as JSON ({error}): give it numbers, text,"
            " lists and dictionaries, or the key of what is stored elsewhere."
        ) from error


def revived(value: Any) -> Any:
    """The inverse of :func:`as_json`: dates and the like are themselves again."""
    if isinstance(value, dict):
        return object_hook({name: revived(one) for name, one in value.items()})
    if isinstance(value, list):
        return [revived(one) for one in value]
    return value


def steps_of(item: Item) -> tuple[Step, ...]:
    """The steps of a part, from its item."""
    return tuple(step_of(one) for one in item.get("chain") or (item,))


def step_of(item: Item) -> Step:
    """One step, from its part of the item."""
    return Step(
        item["task"],
        tuple(revived(item.get("args", ()))),
        revived(item.get("kwargs", {})),
        # Links stay as they are: they are sent on, not used here.
        {
            name: value if name in {"link", "link_error"} else revived(value)
            for name, value in item.get("options", {}).items()
        },
        item.get("immutable", False),
    )


def signature_of(item: Item, app: Celery) -> Signature:
    """A part as it was given, from its item: one signature, or a chain."""
    row: list[Any] = [
        app.signature(
            step.task,
            args=step.args,
            kwargs=step.kwargs,
            options=step.options,
            immutable=step.immutable,
        )
        for step in steps_of(item)
    ]
    return row[0] if len(row) == 1 else chain(*row)


def with_value(signature: Any, app: Celery, *values: Any) -> list[str]:
    """A signature that waited for values, as text: it is sent with them, whatever else it is given.

    A group becomes its tasks, for it would not keep what it is given.
    """
    found: Any = maybe_signature(deepcopy(signature), app=app)
    if found.get("subtask_type") == "group":
        return [text for task in found.tasks for text in with_value(task, app, *values)]
    return [str(dumps(_fixed(found, app, values)))]


def _fixed(signature: Any, app: Celery, values: tuple[Any, ...]) -> Any:
    """A signature that has its values and takes no others.

    What is made of several would forget on its way what it was given: its first tasks have it.
    """
    found: Any = maybe_signature(signature, app=app)
    kind = found.get("subtask_type")
    if kind == "chain":
        first, *rest = found.tasks
        found.tasks = [_fixed(first, app, values), *rest]
    elif kind in {"group", "chord"}:
        whole = found.tasks
        tasks = getattr(whole, "tasks", whole)
        found.tasks = [_fixed(task, app, values) for task in tasks]
    else:
        found = found if found.immutable else found.clone(args=values)
        found.set_immutable(True)
    return found


def _written(
    task: Signature,
    now: datetime,
    queue: str | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
) -> Item:
    item: Item = {"task": task.task}
    given, named, options = task.args, task.kwargs, task.options
    if not task.immutable:
        given = (*args, *given) if args else given
        named = {**named, **kwargs} if kwargs else named
    else:
        item["immutable"] = True
    if given:
        item["args"] = given
    if named:
        item["kwargs"] = named
    if options:
        kept = _options(task, now, queue)
        if kept:
            item["options"] = kept
    return item


def _check_limits(whose: str | None, options: Mapping[str, Any]) -> None:
    for name in ("time_limit", "soft_time_limit"):
        given = options.get(name, 0)
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not number or not 0 <= given < float("inf"):
            raise CanvasError(
                f"{whose} has {name}={given!r}: give a number of seconds, or leave it away."
            )


def _options(task: Signature, now: datetime, queue: str | None) -> dict[str, Any]:
    options = task.options
    own = queue_of(task)
    if own is not None and queue is not None and own != queue:
        raise CanvasError(
            f"{task.task} asks for the queue {own!r}, but all of a canvas goes to {queue!r}: make"
            f" a canvas of its own for the tasks of {own!r}, or leave queue= away."
        )
    kept = {name: options[name] for name in OF_PARTS & options.keys() if options[name] is not None}
    _check_limits(task.task, kept)
    for name in ("link", "link_error"):
        callbacks_of(options.get(name))
    if options.get("countdown") is not None:
        kept["eta"] = now + timedelta(seconds=float(options["countdown"]))
    expires = kept.get("expires")
    if isinstance(expires, (int, float)):
        kept["expires"] = now + timedelta(seconds=expires)
    elif isinstance(expires, str):
        # As Celery takes it: a time in ISO 8601.
        kept["expires"] = datetime.fromisoformat(expires)
    return kept
