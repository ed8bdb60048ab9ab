"""Medians, and how far they are to be trusted."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

RESAMPLES = 10_000
SEED = 2014
"""Of the resampling, so that the same values give the same interval."""
_FEWEST = 3
_SHORT, _LONG = (30.0, 5), (90.0, 3)


def repetitions(seconds: float) -> int:
    """How often something is measured that takes so many seconds."""
    for bound, times in (_SHORT, _LONG):
        if seconds < bound:
            return times
    return 1


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of the median; None where there are too few values.

    The values are drawn anew, with repetition, many times; the interval holds the medians of all
    but the lowest and the highest 2.5 %. With few values it cannot be narrower than they are.
    """
    if len(values) < _FEWEST:
        return None
    generator = random.Random(SEED)
    medians = sorted(
        statistics.median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    edge = RESAMPLES * 25 // 1000
    return medians[edge], medians[-edge - 1]


def short(value: float) -> str:
    """A number as tables have it: three digits."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def within(values: Sequence[float]) -> str:
    """The interval in brackets; empty where there is none."""
    found = interval(values)
    return "" if found is None else f"[{short(found[0])}, {short(found[1])}]"
