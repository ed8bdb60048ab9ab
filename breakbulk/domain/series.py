"""How fast a run went, and how much failed, over its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

#: About so many points make a curve.
_POINTS = 120
_MINUTE = 60


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


def stretch(elapsed: float, folded_after: float) -> int:
    """How long a stretch should be, in seconds.

    Tallies that are older than ``folded_after`` are kept by the minute only, so a run that is
    older is shown by whole minutes.
    """
    if elapsed <= folded_after:
        return max(1, math.ceil(elapsed / _POINTS))
    return _MINUTE * max(1, math.ceil(elapsed / _MINUTE / _POINTS))


def origin(start: datetime, seconds: int) -> datetime:
    """Where the first stretch begins: on a whole minute if the stretches are whole minutes."""
    return start.replace(second=0, microsecond=0) if seconds >= _MINUTE else start


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
