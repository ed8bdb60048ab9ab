"""How fast a run went, and how much failed, over its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

#: So many points at most make a curve.
_POINTS = 120
#: Seconds of a stretch: each is a whole part of the next, so that what was put together by one is
#: put together by the next without being cut.
_STEPS = (1, 2, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200)
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of time.

    Attributes:
        at: when it began.
        rows: rows committed in it.
        failures: attempts that failed in it.
    """

    at: datetime
    rows: int
    failures: int


@dataclass(frozen=True, slots=True)
class Series:
    """A run's history in stretches of ``seconds``, without gaps."""

    seconds: int
    points: tuple[Point, ...]

    @property
    def peak(self) -> float:
        """The highest rate, in rows a second."""
        return max((point.rows for point in self.points), default=0) / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """As columns of JSON values: times in seconds since 1970, rates, failures."""
        return {
            "seconds": self.seconds,
            "at": [point.at.timestamp() for point in self.points],
            "rate": [round(point.rows / self.seconds, 1) for point in self.points],
            "failures": [point.failures for point in self.points],
        }


def stretch(elapsed: float) -> int:
    """How long a stretch should be for a run of so many seconds, in seconds.

    A short run is drawn by the second, for ever; one of a week by the hour or two.
    """
    fitting = (step for step in _STEPS if elapsed <= step * _POINTS)
    return next(fitting, _DAY * max(1, math.ceil(elapsed / _DAY / _POINTS)))


def origin(start: datetime, seconds: int) -> datetime:
    """Where the stretch begins that a time lies in: all runs' stretches are the same ones."""
    moment = start.timestamp()
    return datetime.fromtimestamp(moment // seconds * seconds, UTC)


def series(
    begin: datetime,
    end: datetime,
    seconds: int,
    rows: dict[int, int],
    failures: dict[int, int],
) -> Series:
    """Put a series together from what was found by the number of the stretch."""
    last = max(0, math.floor((end - begin).total_seconds() / seconds))
    points = tuple(
        Point(begin + timedelta(seconds=n * seconds), rows.get(n, 0), failures.get(n, 0))
        for n in range(last + 1)
    )
    return Series(seconds, points)
