"""The hours in which a run may work: ``"Mon-Fri 22:00-06:00 Europe/Berlin"``.

What counts is the wall clock of the zone, also in the nights in which it is put forward or back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(7))
_WHOLE = re.compile(
    r"\s*(?:([a-z]{3}(?:\s*[-,]\s*[a-z]{3})*)\s+)?"
    r"(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)(?:\s+(\S+))?\s*",
    re.IGNORECASE,
)
_HOUR, _MIDNIGHT = 60, 24 * 60
#: However seldom it opens, and whatever the clocks do meanwhile.
_LOOK_AHEAD = 9
_MINUTE = timedelta(minutes=1)
EXAMPLE = '"22:00-06:00", "Mon-Fri 22:00-06:00 Europe/Berlin"'


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Some hours of some days.

    Attributes:
        days: on which it opens, 0 for Monday.
        start, end: minutes after midnight; an ``end`` before ``start`` is of the next day.
        zone: whose wall clock counts.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo

    @classmethod
    def parsed(cls, text: str) -> Self:
        """From text: days if not every day, from when to when, and the zone if not UTC.

        Raises:
            ValueError: it is no such text, with what is wrong.
        """
        found = _WHOLE.fullmatch(text)
        if found is None:
            raise ValueError(f"hours as in {EXAMPLE}")
        days, *clock, zone = found.groups()
        start, end = (
            int(hour) * _HOUR + int(minute)
            for hour, minute in ((clock[0], clock[1]), (clock[2], clock[3]))
        )
        minutes = (int(clock[1]), int(clock[3]))
        if max(minutes) >= _HOUR or start >= _MIDNIGHT or end > _MIDNIGHT:
            raise ValueError("hours from 00:00 to 24:00")
        if start == end:
            raise ValueError("hours that begin and end at different times")
        return cls(_days(days), start, end, _zone(zone or "UTC"))

    def is_open(self, now: datetime) -> bool:
        """Whether work may be done at a time, which has a zone."""
        local = now.astimezone(self.zone)
        minute = local.hour * _HOUR + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        late = today in self.days and minute >= self.start
        return late or (yesterday in self.days and minute < self.end)

    def opens_at(self, now: datetime) -> datetime | None:
        """The next time at which it is open, in UTC; None if the clocks leave no such time soon."""
        now = now.astimezone(UTC)
        if self.is_open(now):
            return now
        later = (at for at in self._changes(now) if at > now and self.is_open(at))
        return min(later, default=None)

    def _changes(self, now: datetime) -> Iterator[datetime]:
        """When it might open: at its hour, or when the clocks are put forward or back."""
        today = now.astimezone(self.zone).date()
        at_start = time(*divmod(self.start, _HOUR))
        for day in range(-1, _LOOK_AHEAD):
            date = today + timedelta(days=day)
            for fold in (0, 1):
                local = datetime.combine(date, at_start.replace(fold=fold), self.zone)
                yield local.astimezone(UTC)
            early, late = now + timedelta(days=day), now + timedelta(days=day + 1)
            if self._offset(early) != self._offset(late):
                yield self._switch(early, late)

    def _switch(self, early: datetime, late: datetime) -> datetime:
        """The minute in between from which the clocks show otherwise."""
        early, late = early.replace(second=0, microsecond=0), late.replace(second=0, microsecond=0)
        before = self._offset(early)
        while late - early > _MINUTE:
            middle = early + ((late - early) // _MINUTE // 2) * _MINUTE
            early, late = (middle, late) if self._offset(middle) == before else (early, middle)
        return late

    def _offset(self, at: datetime) -> timedelta | None:
        return at.astimezone(self.zone).utcoffset()


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return _EVERY_DAY
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = (word.strip() for word in part.partition("-"))
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"days as in Mon-Fri or Sat,Sun, and {part.strip()!r} is none")
        low, high = _DAYS.index(first), _DAYS.index(last or first)
        found |= {day % 7 for day in range(low, high + 1 if high >= low else high + 8)}
    return frozenset(found)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # Whatever somebody has typed, and whatever kind of file it may lead to.
    except (LookupError, ValueError, OSError) as error:
        raise ValueError(
            f"a zone that this machine knows, as in Europe/Berlin, and {name!r} is none"
            " (without a database of zones: pip install tzdata)"
        ) from error
