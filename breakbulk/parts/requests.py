"""What a task sees as its request where a lane calls it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from celery import current_task

from breakbulk.parts.signatures import Step

#: Task ids are made of the run, the part and the step, so they are the same in every attempt.
_IDS = UUID("8f0b43a5-6c0e-5f0e-9d0c-4d2f2a0c7f11")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run a call belongs.

    Attributes:
        number: the part's, from 1; 0 of the body.
        queue: that of the run.
        root_id, parent_id: of the task that has applied the canvas, if one has.
    """

    run: int
    submitted_at: datetime
    number: int
    queue: str
    root_id: str | None
    parent_id: str | None

    def task_id(self, step: Step, index: int = 0) -> str:
        """The id of a task: what its signature says, or one that is the same in every attempt."""
        own = step.options.get("task_id")
        if own is not None:
            return str(own)
        return str(uuid5(_IDS, f"{self.submitted_at.isoformat()} {self.run} {self.number} {index}"))


def request_of(
    place: Place,
    step: Step,
    *,
    task_id: str,
    parent_id: str | None,
    retries: int,
    limits: list[float | None],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """The request of one call.

    ``is_eager`` is true: that is what leaves a retry to whoever has called the task.
    """
    request: dict[str, Any] = {
        "id": task_id,
        "task": step.task,
        "args": args,
        "kwargs": kwargs,
        "called_directly": False,
        "correlation_id": task_id,
        "delivery_info": {
            # As of a message that was sent to the queue by name.
            "exchange": "",
            "routing_key": place.queue,
            "priority": None,
            "redelivered": False,
        },
        "eta": step.options.get("eta"),
        "expires": step.options.get("expires"),
        "group": str(place.run) if place.number else None,
        "group_index": place.number - 1 if place.number else None,
        "headers": step.options.get("headers"),
        "hostname": hostname(),
        "is_eager": True,
        "lang": "py",
        "parent_id": parent_id or place.parent_id,
        "retries": retries,
        "root_id": place.root_id or task_id,
        "shadow": step.options.get("shadow"),
        "timelimit": limits,
        "utc": True,
    }
    if "ignore_result" in step.options:
        request["ignore_result"] = step.options["ignore_result"]
    return request


def hostname() -> str:
    """What Celery calls this worker; the host's name where there is none."""
    lane: Any = current_task
    own = lane.request.hostname if lane else None
    return str(own or socket.gethostname())
