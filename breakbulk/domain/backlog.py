"""How much work is left, in seconds of work: what nodes should follow, and not a queue's length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from breakbulk.domain.chunk import RunId
from breakbulk.domain.status import RunStatus
from breakbulk.errors import ConfigurationError

#: What a chunk counts as while neither its run nor the last of its job that ended has done any.
UNKNOWN_CHUNK_SECONDS = 1.0
#: Without a deadline of its own a run should be done within so many seconds from now.
TARGET_SECONDS = 300


@dataclass(frozen=True, slots=True)
class RunBacklog:
    """What one run that has not ended has left to do.

    Attributes:
        run_id: its number.
        job: its job's name.
        queue: the Celery queue of its lanes.
        status: where it stands.
        runnable_chunks: chunks that a free slot could begin with now: retries that are due, an
            estimate of what is not carved yet, and the callback when it is due. 0 while the run is
            paused, held, throttled to no lanes, or not to start yet.
        inflight_chunks: chunks in the hands of lanes, and the callback while it is at work.
        delayed_chunks: chunks that wait for a later time.
        rows_left: rows that are not carved yet, estimated.
        chunk_seconds: mean seconds of one chunk, of the last 100 of this run; until it has done
            any, those of the last run of its job that has ended; else 1.
        backlog_seconds: seconds of work for one slot: runnable and in-flight chunks, times
            ``chunk_seconds``.
        oldest_waiting_seconds: for how many seconds the work that has waited longest has had no
            slot, however many lanes are at other work: what is not carved yet since lanes could
            come, which is since the submit, the time to start at, or the end of what kept them off
            last (a pause, a hold, a throttle, another run); retries since they were due. 0 when
            nothing waits.
        rows_per_second: rows done a second, over the last ten seconds.
        lanes: lanes at work.
        max_lanes: lanes that it may have at most now, what it is throttled to included; None for
            as many as there are slots.
        finish_by: when it should have ended; None when nobody has said.
        seconds_left: seconds until then, below 0 afterwards; None without a deadline.
        desired_slots: slots that it takes to be done by then, or without a deadline within the
            target: 300 seconds, unless another was asked for. Never more than it has chunks, or may
            have lanes; but 1 while it is throttled to no lanes, for with no worker nobody would
            look whether it still has to be.
    """

    run_id: RunId
    job: str
    queue: str
    status: RunStatus
    runnable_chunks: int
    inflight_chunks: int
    delayed_chunks: int
    rows_left: int
    chunk_seconds: float
    backlog_seconds: float
    oldest_waiting_seconds: float
    rows_per_second: float
    lanes: int
    max_lanes: int | None
    finish_by: datetime | None
    seconds_left: float | None
    desired_slots: int

    @property
    def chunks(self) -> int:
        """Chunks that slots can be busy with now."""
        return self.runnable_chunks + self.inflight_chunks

    @property
    def usable_slots(self) -> int:
        """Slots that it can keep busy at once; 1 for a run that only waits for a throttle's end."""
        usable = self.chunks if self.max_lanes is None else min(self.chunks, self.max_lanes)
        return max(usable, min(self.desired_slots, 1))

    @property
    def pace_is_known(self) -> bool:
        """Whether a run of its job has done a chunk: else ``chunk_seconds`` is only a guess."""
        return self.chunk_seconds != UNKNOWN_CHUNK_SECONDS

    def within(self, target: float) -> Self:
        """The same, aimed at so many seconds where it has no deadline."""
        if self.finish_by is not None:
            return self
        # As the view has it for its own target.
        needed = min(math.ceil(self.backlog_seconds / target), self.chunks)
        most = needed if self.max_lanes is None else min(needed, self.max_lanes)
        return replace(self, desired_slots=max(most, min(self.desired_slots, 1)))

    @property
    def late(self) -> bool:
        """Whether it misses its deadline with the lanes that it has now."""
        if self.seconds_left is None or not self.chunks:
            return False
        return self.backlog_seconds > max(self.seconds_left, 0.0) * max(self.lanes, 1)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        left = self.seconds_left
        return {
            "run": self.run_id,
            "job": self.job,
            "queue": self.queue,
            "status": str(self.status),
            **_figures(self),
            "max_lanes": self.max_lanes,
            "finish_by": None if self.finish_by is None else self.finish_by.isoformat(),
            "seconds_left": None if left is None else round(left, 3),
            "late": self.late,
        }


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """What all runs of one queue have left to do; all zeros when there are none.

    Attributes:
        queue: the Celery queue.
        slots: slots of the live workers that consume it and take work.
        runnable_chunks, inflight_chunks, delayed_chunks: of its runs together.
        rows_left, backlog_seconds, rows_per_second: likewise.
        lanes, desired_slots: likewise.
        chunk_seconds: mean seconds of one chunk of its backlog; 0 when there is none.
        oldest_waiting_seconds: the longest of them.
        late_runs: how many of them miss their deadline with the lanes that they have now.
    """

    queue: str
    slots: int
    runnable_chunks: int
    inflight_chunks: int
    delayed_chunks: int
    rows_left: int
    chunk_seconds: float
    backlog_seconds: float
    oldest_waiting_seconds: float
    rows_per_second: float
    lanes: int
    desired_slots: int
    late_runs: int

    @property
    def seconds_a_slot(self) -> float:
        """Seconds of work for each slot there is; for one slot while there is none."""
        return self.backlog_seconds / max(self.slots, 1)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "queue": self.queue,
            "slots": self.slots,
            **_figures(self),
            "backlog_seconds_per_slot": round(self.seconds_a_slot, 3),
            "late_runs": self.late_runs,
        }


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work that is left at one moment.

    Attributes:
        at: the database's clock.
        queues: one for each queue that a run, a worker or a job has.
        runs: each that has not ended.
    """

    at: datetime
    queues: tuple[QueueBacklog, ...]
    runs: tuple[RunBacklog, ...]

    def of(self, queue: str) -> QueueBacklog:
        """A queue's; zeros for one that nobody has heard of."""
        found = (one for one in self.queues if one.queue == queue)
        return next(found, together(queue, 0, ()))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "at": self.at.isoformat(),
            "queues": [one.as_dict() for one in self.queues],
            "runs": [one.as_dict() for one in self.runs],
        }


def backlog(
    at: datetime,
    runs: Iterable[RunBacklog],
    slots: Mapping[str, int],
    queues: Iterable[str] = (),
    target: float = TARGET_SECONDS,
) -> Backlog:
    """Put the signal together.

    Args:
        slots: of live workers that take work, by queue.
        queues: those that are to be named though they have neither runs nor workers.
        target: within so many seconds what has no deadline is to be done.

    Raises:
        ConfigurationError: that is no number of seconds, more than 0.
    """
    if isinstance(target, bool) or not 0 < target < math.inf:
        raise ConfigurationError(
            f"The target must be a number of seconds, more than 0, as in 300: not {target!r}."
        )
    found = tuple(run.within(target) for run in runs)
    names = sorted({*queues, *slots, *(run.queue for run in found)})
    return Backlog(
        at,
        tuple(
            together(name, slots.get(name, 0), [run for run in found if run.queue == name])
            for name in names
        ),
        found,
    )


def together(queue: str, slots: int, runs: Iterable[RunBacklog]) -> QueueBacklog:
    """The runs of one queue as one."""
    found = list(runs)
    seconds = math.fsum(run.backlog_seconds for run in found)
    chunks = sum(run.chunks for run in found)
    return QueueBacklog(
        queue=queue,
        slots=slots,
        runnable_chunks=sum(run.runnable_chunks for run in found),
        inflight_chunks=sum(run.inflight_chunks for run in found),
        delayed_chunks=sum(run.delayed_chunks for run in found),
        rows_left=sum(run.rows_left for run in found),
        chunk_seconds=seconds / chunks if chunks else 0.0,
        backlog_seconds=seconds,
        oldest_waiting_seconds=max((run.oldest_waiting_seconds for run in found), default=0.0),
        rows_per_second=math.fsum(run.rows_per_second for run in found),
        lanes=sum(run.lanes for run in found),
        desired_slots=sum(run.desired_slots for run in found),
        late_runs=sum(run.late for run in found),
    )


def _figures(one: RunBacklog | QueueBacklog) -> dict[str, Any]:
    return {
        "runnable_chunks": one.runnable_chunks,
        "inflight_chunks": one.inflight_chunks,
        "delayed_chunks": one.delayed_chunks,
        "rows_left": one.rows_left,
        "chunk_seconds": round(one.chunk_seconds, 6),
        "backlog_seconds": round(one.backlog_seconds, 3),
        "oldest_waiting_seconds": round(one.oldest_waiting_seconds, 3),
        "rows_per_second": round(one.rows_per_second, 1),
        "lanes": one.lanes,
        "desired_slots": one.desired_slots,
    }
