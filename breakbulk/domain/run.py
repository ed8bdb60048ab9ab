"""A run as a value: what was submitted, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from breakbulk.domain.chunk import RunId
from breakbulk.domain.failing import FailurePolicy
from breakbulk.domain.items import ITEMS_FINGERPRINT
from breakbulk.domain.nouns import CANVAS_JOB, Nouns, nouns_of
from breakbulk.domain.sizing import ChunkSize
from breakbulk.domain.status import RunStatus
from breakbulk.domain.throttle import NO_THROTTLE, Throttle


@dataclass(frozen=True, slots=True)
class Run:
    """One submission of a job with its parameters, as the ledger has it.

    Attributes:
        id: its number.
        job: the name of the job.
        parameters: JSON values by name.
        queue: the Celery queue its lanes are sent to.
        status: where it stands.
        reason: why, when it is held, failed or cancelled.
        round: 1, and one more each time that failed chunks are retried.
        policy: retries, what becomes of what fails, and how much may fail.
        suspect: the errors that the run was held for, because nothing succeeded any more: one a
            line.
        alone: no other run of the same job and parameters may go on beside it.
        callback_failed: it is the callback that failed, not the rows.
        fingerprint: of the source's statement at submit.
        until: the source's highest key at submit, encoded; None for an empty table, and while
            an iterable is being read.
        rows_estimate: rows that are expected: the planner's guess at submit, told better once
            some were seen.
        chunk_size: rows to a chunk; to the first one where chunks size themselves.
        chunk_seconds: what a chunk is to take where they size themselves; else None.
        at_least_once: after a crash a row may be processed twice; :attr:`promise` says why.
        has_failed: somebody is to be told when the run fails or is cancelled: the job has a
            ``failed()``, or the application wants to know.
        waits_for: the run that this one stands behind (``overlap="wait"``).
        not_before: it starts then, and not earlier.
        awaits: it starts when somebody releases it.
        finish_by: when it should have ended; those who scale workers go by it.
        trace: the OpenTelemetry span of its submit, as W3C writes it: traceparent, and behind a
            blank tracestate.
        throttle: on what it holds back.
        throttled_to: lanes that it may have for that reason at this moment; 0: it holds back.
    """

    id: RunId
    job: str
    parameters: dict[str, Any]
    queue: str
    status: RunStatus
    reason: str | None
    outcome: RunStatus | None
    round: int
    submitted_at: datetime
    submitted_by: str | None
    started_at: datetime | None
    finished_at: datetime | None
    idempotency_key: str | None
    fingerprint: str
    key_names: tuple[str, ...]
    until: str | None
    rows_estimate: int | None
    chunk_size: int
    chunk_seconds: float | None
    max_lanes: int | None
    policy: FailurePolicy
    suspect: str | None
    alone: bool
    callback_failed: bool
    at_least_once: bool
    has_failed: bool
    waits_for: RunId | None
    finish_attempt: int
    summary: Summary | None
    not_before: datetime | None = None
    awaits: bool = False
    finish_by: datetime | None = None
    trace: str | None = None
    throttle: Throttle = NO_THROTTLE
    throttled_to: int | None = None

    def as_dict(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """As JSON values.

        Args:
            parameters: those of the run as they may be shown.
        """
        return {
            "id": self.id,
            "job": self.job,
            "parameters": dict(parameters),
            "status": str(self.status),
            "reason": self.reason,
            "queue": self.queue,
            "round": self.round,
            "chunk_size": self.chunk_size,
            "chunk_seconds": self.chunk_seconds,
            "max_lanes": self.max_lanes,
            "rows_estimate": self.rows_estimate,
            "until": self.until,
            "policy": self.policy.as_dict(),
            "throttle": self.throttle.as_dict(),
            "at_least_once": self.at_least_once,
            "idempotency_key": self.idempotency_key,
            "waits_for": self.waits_for,
            "not_before": None if self.not_before is None else self.not_before.isoformat(),
            "finish_by": None if self.finish_by is None else self.finish_by.isoformat(),
            "submitted_at": self.submitted_at.isoformat(),
            "submitted_by": self.submitted_by,
            "trace_id": self.trace_id,
            "started_at": None if self.started_at is None else self.started_at.isoformat(),
            "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
            "summary": None if self.summary is None else self.summary.as_dict(),
        }

    @property
    def trace_id(self) -> str | None:
        """The OpenTelemetry trace of its submit, 32 hexadecimal digits; None without one."""
        return None if self.trace is None else self.trace.split("-")[1]

    @property
    def size(self) -> ChunkSize:
        """How large its chunks are to be."""
        return ChunkSize(self.chunk_size, self.chunk_seconds)

    @property
    def releases(self) -> int | None:
        """The run that awaits what comes of this one: a group with a task in front of it."""
        follower: int | None = self.parameters.get("releases") if self.job == CANVAS_JOB else None
        return follower

    @property
    def callback(self) -> str:
        """Which of the job's two callbacks is due when its work is over: as people write it."""
        twin = self.outcome in (RunStatus.FAILED, RunStatus.CANCELLED)
        return "failed()" if twin else "finished()"

    @property
    def of_items(self) -> bool:
        """Whether its rows are the items of an iterable, which the ledger keeps."""
        return self.fingerprint == ITEMS_FINGERPRINT

    @property
    def of_canvas(self) -> bool:
        """Whether its rows are Celery tasks of a group, chord or chain."""
        return self.job == CANVAS_JOB

    @property
    def nouns(self) -> Nouns:
        """What people call its pieces."""
        return nouns_of(self.job)

    @property
    def promise(self) -> str:
        """What is promised about each row, for people."""
        if self.of_canvas:
            return (
                "at least once: a task manages its own transaction, so after a crash it may run"
                " again; what it does through breakbulk.current_chunk().session is done once"
            )
        if self.at_least_once:
            return (
                "at least once: the rows are in another database than the ledger, so a crash may"
                " process a chunk twice"
            )
        return "each row's changes are committed once"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a round did, exactly, counted from the chunks themselves.

    Attributes:
        rows_done: rows in chunks that succeeded, in this round or an earlier one.
        rows_failed: rows that were given up: in quarantine, or skipped with their chunk.
        rows_quarantined: those of them that are in quarantine.
        chunks_done: chunks that succeeded.
        chunks_failed: chunks that were given up.
        attempts_failed: attempts of this round that raised, died or took too long.
        seconds: from when it could start, which is mostly its submit, to the end, or to this count
            while there is none.
    """

    rows_done: int
    rows_failed: int
    rows_quarantined: int
    chunks_done: int
    chunks_failed: int
    attempts_failed: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
