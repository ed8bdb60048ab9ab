"""How far a run is, said no more exactly than it is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from breakbulk.domain.nouns import CHUNKS, Nouns
from breakbulk.domain.status import RunStatus
from breakbulk.domain.throttling import Gauge, ThrottleState

_SPREAD_OF_RATE = 0.15
"""What a steady rate will vary by, to both sides."""
_SPREAD_OF_ESTIMATE = 0.3
"""The same and what an estimate of the rows is mostly wrong by, once some were seen."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """On what a run holds back at this moment.

    Attributes:
        by: the gauge: ``replica lag``, ``lock waits``, ``check`` or ``hours``.
        reason: in words, with what was measured and what is allowed.
        value, limit: the same as numbers, where they are numbers.
        since: when that began; None when nobody has looked yet, and while it only has fewer lanes.
        lanes: that it may have: 0 as long as the reason lasts, then more and more.
    """

    by: str
    reason: str
    value: float | None
    limit: float | None
    since: datetime | None
    lanes: int

    @classmethod
    def of(cls, state: ThrottleState | None, throttled_to: int | None) -> Throttled | None:
        """From where a run's throttle stands; None when it does not hold back."""
        if state is None or state.reading is None:
            if throttled_to != 0:
                return None
            why = "what it holds back on has not been looked at yet"
            return cls(str(Gauge.NOT_YET), why, None, None, None, 0)
        lanes = 0 if state.holds else state.ceiling
        if lanes is None:
            return None
        read = state.reading
        return cls(str(read.gauge), read.says, read.value, read.limit, state.since, lanes)

    def __str__(self) -> str:
        if self.lanes:
            lanes = "1 lane" if self.lanes == 1 else f"{self.lanes} lanes"
            return f"to {lanes} for the time being, after this: {self.reason}"
        since = "" if self.since is None else f"; since {self.since.astimezone(UTC):%H:%M} UTC"
        over = self.value is None or self.limit is None or self.value > self.limit
        soon = "" if over else ", which has to last"
        return f"{self.reason}{soon}{since}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        since = None if self.since is None else self.since.isoformat()
        return {**asdict(self), "since": since}


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a run.

    Attributes:
        status: where it stands.
        reason: why, when there is one.
        rows_done: rows committed, as of the last tally (exact once the run has ended).
        rows_total: all rows, once carving has ended; before that the planner's estimate.
        total_is_exact: whether ``rows_total`` is a count.
        chunks_done: chunks committed, as of the last tally.
        chunks_carved: chunks cut so far.
        chunks_failed: chunks given up.
        chunks_waiting: chunks waiting for a retry.
        lanes: lanes at work right now.
        rate: rows a second over the last seconds; 0 when nothing moves.
        elapsed: seconds since it could start, which is mostly since its submit.
        stood: seconds before, in which it was not to start yet: it was given a time, stood behind
            another run, or awaited a value.
        total_is_outrun: more is carved already than was estimated: the end is not in sight.
        rate_is_steady: whether rows were done for some seconds at about the same rate.
        waits: what it waits for when nobody works on it: a worker that consumes its queue, or that
            knows its job, or the time of the next try. It goes on by itself then.
        throttled: what it holds back on, or why it has fewer lanes than it could; it goes on by
            itself when that is over.
        later: it is not to start yet, as whoever submitted it wanted.
        nouns: what people call its pieces.
    """

    status: RunStatus
    reason: str | None
    rows_done: int
    rows_total: int | None
    total_is_exact: bool
    chunks_done: int
    chunks_carved: int
    chunks_failed: int
    chunks_waiting: int
    lanes: int
    rate: float
    elapsed: float
    waits: str | None = None
    stood: float = 0.0
    throttled: Throttled | None = None
    later: bool = False
    total_is_outrun: bool = False
    rate_is_steady: bool = True
    nouns: Nouns = CHUNKS

    @property
    def fraction(self) -> float | None:
        """Part of the rows that is done, 0 to 1; None when no total is known.

        An estimate that turned out too low never shows as more than is done: while the total
        is only an estimate the fraction stays below 1.
        """
        if not self.rows_total:
            return 1.0 if self.total_is_exact and self.chunks_carved == self.chunks_done else None
        share = self.rows_done / self.rows_total
        return min(share, 1.0) if self.total_is_exact else min(share, 0.99)

    @property
    def holds_back(self) -> bool:
        """Whether no chunk is begun for the moment, because of a throttle."""
        return self.throttled is not None and self.throttled.lanes == 0

    @property
    def eta(self) -> float | None:
        """Seconds until all rows are done at the present rate; None when that is not known.

        Nor is it known while a run waits or is throttled (the rate is then that of what was done
        before), while the rate is not steady, nor when the estimate has proved too low.
        """
        if not self.rows_total or self.rate <= 0 or self.waits or self.holds_back:
            return None
        if self.total_is_outrun or not self.rate_is_steady:
            return None
        return max(self.rows_total - self.rows_done, 0) / self.rate

    @property
    def eta_range(self) -> tuple[float, float] | None:
        """Between how many seconds the end will come: wider where the total is an estimate."""
        if self.eta is None:
            return None
        spread = _SPREAD_OF_RATE if self.total_is_exact else _SPREAD_OF_ESTIMATE
        return self.eta * (1 - spread), self.eta * (1 + spread)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, with the derived figures."""
        return {
            "status": str(self.status),
            "reason": self.reason,
            "waits": self.waits,
            "throttled": None if self.throttled is None else self.throttled.as_dict(),
            "rows_done": self.rows_done,
            "rows_total": self.rows_total,
            "total_is_exact": self.total_is_exact,
            "fraction": self.fraction,
            "rate": round(self.rate, 1),
            "eta_seconds": None if self.eta is None else round(self.eta, 1),
            "elapsed_seconds": round(self.elapsed, 1),
            "stood_seconds": round(self.stood, 1),
            "chunks_done": self.chunks_done,
            "chunks_carved": self.chunks_carved,
            "chunks_failed": self.chunks_failed,
            "chunks_waiting": self.chunks_waiting,
            "lanes": self.lanes,
        }
