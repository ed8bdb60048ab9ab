"""How long the last runs of a job took, as a row of bars."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from breakbulk.domain.chunk import RunId
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED

#: In units of the picture.
WIDTH, HEIGHT, STEP = 10, 40, 12


@dataclass(frozen=True, slots=True)
class Bar:
    """One run that has ended: where its bar stands, and how high it is."""

    run: Run
    seconds: float
    x: int
    height: float


@dataclass(frozen=True, slots=True)
class Spark:
    """Bars from the oldest to the latest.

    Attributes:
        width: of the picture.
        median: seconds that a run typically took.
    """

    bars: list[Bar]
    width: int
    median: float
    longest: float


def spark(runs: Sequence[Run], progress: Mapping[RunId, Progress]) -> Spark | None:
    """Draw runs, given newest first; None while there are no two that have ended."""
    # One that was tried again has stood idle between its rounds, nobody knows for how long.
    ended = [
        (run, progress[run.id].elapsed)
        for run in reversed(runs)
        if run.status in FINISHED and run.round == 1
    ]
    if len(ended) < 2:  # noqa: PLR2004
        return None
    took = [seconds for _run, seconds in ended]
    longest = max(*took, 0.001)
    bars = [
        Bar(run, seconds, place * STEP, max(round(seconds / longest * HEIGHT, 1), 1.0))
        for place, (run, seconds) in enumerate(ended)
    ]
    return Spark(bars, len(bars) * STEP, statistics.median(took), longest)
