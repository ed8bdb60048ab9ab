"""What somebody outside may be told of a run: the types of events, and what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus

#: Characters of a reason in a message: it is to be small, and the ledger has the whole of it.
_REASON = 500


class EventType(StrEnum):
    """The types of events, in the order in which a run meets them."""

    SUBMITTED = "run.submitted"
    PAUSED = "run.paused"
    HELD = "run.held"
    QUARANTINED = "rows.quarantined"
    SUCCEEDED = "run.succeeded"
    PARTIAL = "run.partial"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"


#: Sent by hand only, to see whether an endpoint answers.
PING = "ping"

#: A signature that a run sends while it goes on, and nothing that an endpoint is told of.
OUTGOING = "signature"

#: What a change of a run's status is told as; of all others nobody is told.
EVENT_OF: dict[RunStatus, EventType] = {
    RunStatus.PAUSED: EventType.PAUSED,
    RunStatus.HELD: EventType.HELD,
    RunStatus.SUCCEEDED: EventType.SUCCEEDED,
    RunStatus.PARTIAL: EventType.PARTIAL,
    RunStatus.FAILED: EventType.FAILED,
    RunStatus.CANCELLED: EventType.CANCELLED,
}


class LinkKind(StrEnum):
    """What a linked signature waits for."""

    SUCCESS = "link"
    ERROR = "link_error"
    #: It has waited for nothing: it was sent at once.
    SENT = "sent"


def link_of(status: RunStatus) -> LinkKind:
    """Which links a run's end sends: any end but a full success is an error to who goes on."""
    return LinkKind.SUCCESS if status is RunStatus.SUCCEEDED else LinkKind.ERROR


def data_of(run: Run, **more: Any) -> dict[str, Any]:
    """What an event says of a run. No parameters: any of them might be a secret."""
    reason = run.reason
    if reason is not None and len(reason) > _REASON:
        reason = f"{reason[:_REASON]} …"
    return {
        "run": run.id,
        "job": run.job,
        "status": str(run.status),
        "reason": reason,
        "round": run.round,
        "summary": None if run.summary is None else run.summary.as_dict(),
        "submitted_at": _moment(run.submitted_at),
        "submitted_by": run.submitted_by,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        **more,
    }


def payload_of(kind: str, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
    """A message as it is sent: https://github.com/standard-webhooks/standard-webhooks."""
    return {"type": str(kind), "timestamp": _moment(at), "data": data}


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
