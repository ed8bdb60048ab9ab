"""A chunk's attempts on a line of time, as a picture that needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from breakbulk.domain.history import Attempt, AttemptState

#: In units of the picture.
WIDTH, HEIGHT, LANE = 600, 16, 22
_NARROWEST = 4.0
_SOME_TIME = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Span:
    """One attempt: its bar, and the line of what came before it in the same picture."""

    attempt: Attempt
    x: float
    y: int
    width: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bars from the first attempt to the last, one below the other.

    Attributes:
        height: of the picture.
        begin, end: of the time that is shown.
    """

    spans: list[Span]
    height: int
    begin: datetime
    end: datetime


def timeline(attempts: Sequence[Attempt], now: datetime) -> Timeline | None:
    """Draw attempts that have begun; None if there are no two to be compared.

    Args:
        attempts: in order of time.
        now: until when the one under way is drawn.
    """
    known = [(one, *_extent(one, now)) for one in attempts if one.began or one.ended]
    if len(known) < 2:  # noqa: PLR2004
        return None
    begin = min(first for _one, first, _last in known)
    end = max(*(last for _one, _first, last in known), begin + _SOME_TIME)
    whole = (end - begin) / WIDTH
    spans = []
    for place, (one, first, last) in enumerate(known):
        width = max((last - first) / whole, _NARROWEST)
        x = min((first - begin) / whole, WIDTH - width)
        spans.append(Span(one, round(x, 1), place * LANE, round(width, 1)))
    return Timeline(spans, (len(spans) - 1) * LANE + HEIGHT, begin, end)


def _extent(attempt: Attempt, now: datetime) -> tuple[datetime, datetime]:
    first = attempt.began or attempt.ended or now
    # Both are the database's: a page is drawn a moment after it was asked.
    last = max(now, first) if attempt.state is AttemptState.RUNNING else attempt.ended or first
    return first, last
