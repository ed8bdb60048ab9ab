"""Whether a run holds back at this moment: decided from what was measured, without any I/O.

A run that was stopped by a load does not come back at full power, or it would only swing between
both ends: it comes back with half its lanes and gets one more now and then, as long as it is calm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

#: A gauge that has stopped a run must fall to that part of its limit before it goes on.
_CALM = 0.8
#: Seconds that a hold by a load lasts at least.
SHORTEST_HOLD = 5.0
#: Seconds of calm after which a run gets one lane more.
GROW_AFTER = 10.0
_UNKNOWN = " cannot be told: "
#: Lanes more than would do it, if none ever waited: of those a cap needs.
_SPARE = 1.25


class Gauge(StrEnum):
    """What is looked at."""

    REPLICA_LAG = "replica lag"
    LOCK_WAITS = "lock waits"
    CHECK = "check"
    WINDOW = "hours"
    NOT_YET = "not looked at"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a gauge gave.

    Attributes:
        says: in words, with the value and the limit.
        over: the run must hold back.
        calm: a run that was stopped by it may go on.
        value, limit: measured and allowed, where these are numbers.
    """

    gauge: Gauge
    says: str
    over: bool
    calm: bool
    value: float | None = None
    limit: float | None = None

    @classmethod
    def of_value(cls, gauge: Gauge, says: str, value: float, limit: float) -> Reading:
        """A number that may not be above a limit."""
        calm = value <= limit * _CALM
        return cls(gauge, says, value > limit, calm, float(value), float(limit))

    @property
    def is_blind(self) -> bool:
        """Whether it could not be looked at."""
        return _UNKNOWN in self.says

    @classmethod
    def failed(cls, gauge: Gauge, why: str) -> Reading:
        """It could not be looked at: then the run holds back, for nobody knows what it would do."""
        return cls(gauge, f"{gauge}{_UNKNOWN}{why}", over=True, calm=False)


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """Where a run's throttle stands.

    Attributes:
        reading: what it holds back on, or was last stopped by; None: it never was.
        since: when it began to hold back; None while it does not.
        ceiling: lanes that it may have since then; None: as many as it could have anyway.
        raised_at: when the ceiling was last set.
    """

    reading: Reading | None = None
    since: datetime | None = None
    ceiling: int | None = None
    raised_at: datetime | None = None

    @property
    def holds(self) -> bool:
        """Whether it holds back."""
        return self.since is not None


def decide(
    state: ThrottleState, readings: Sequence[Reading], now: datetime, *, lanes: int, most: int
) -> ThrottleState:
    """What becomes of a throttle.

    Args:
        readings: one for each gauge that is asked for.
        lanes: of the run at work.
        most: that it could have.
    """
    over = next((one for one in readings if one.over), None)
    if not state.holds:
        if over is None:
            return _grown(state, readings, now, most)
        return _stopped(state, over, now, lanes)
    held = over or _still(state, readings, now)
    if held is not None:
        # What it holds back on now; since when, though, it has held back at all.
        return replace(state, reading=held)
    return replace(state, since=None, raised_at=now if state.ceiling is not None else None)


def _stopped(state: ThrottleState, over: Reading, now: datetime, lanes: int) -> ThrottleState:
    ceiling = state.ceiling
    if over.gauge is not Gauge.WINDOW and lanes:
        ceiling = max(1, min(lanes, ceiling or lanes) // 2)
    return ThrottleState(over, now, ceiling, state.raised_at)


def _still(state: ThrottleState, readings: Sequence[Reading], now: datetime) -> Reading | None:
    """The reading for which it holds back though nothing is over its limit any more."""
    assert state.reading is not None
    assert state.since is not None
    last = next((one for one in readings if one.gauge is state.reading.gauge), None)
    if last is None or last.gauge is Gauge.WINDOW:
        return None
    short = (now - state.since).total_seconds() < SHORTEST_HOLD
    return last if short or not last.calm else None


def _grown(
    state: ThrottleState, readings: Sequence[Reading], now: datetime, most: int
) -> ThrottleState:
    if state.ceiling is None:
        return state
    if state.raised_at is None:
        return replace(state, raised_at=now)
    if (now - state.raised_at).total_seconds() < GROW_AFTER:
        return state
    if not all(one.calm for one in readings):
        return state
    ceiling = state.ceiling + 1
    if ceiling >= most:
        return ThrottleState()
    return replace(state, ceiling=ceiling, raised_at=now)


def lanes_under(cap: float, rows: int, seconds: float) -> int:
    """How many lanes a cap keeps at work; more would only wait in the team's slots.

    Args:
        cap: rows a second.
        rows, seconds: done lately, and how long lanes were at it; 0 when nothing is known.
    """
    if not rows or seconds <= 0:
        return 1
    return max(1, math.ceil(cap * seconds / rows * _SPARE))
