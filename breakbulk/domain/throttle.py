"""On what a run holds back, so that it does not hurt the application beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypedDict

from breakbulk.domain.timewindow import TimeWindow

#: Under a cap no chunk is larger than what the cap allows in so many seconds.
_SMOOTH = 1.0
_LONGEST_CHECK = 10_000


class ThrottleOptions(TypedDict, total=False):
    """On what a run holds back; nothing unless it is given, and None takes it away.

    Attributes:
        max_replica_lag: it works only while no standby is more seconds behind than that.
        max_lock_waits: it works only while no more sessions of the application wait for locks.
        throttle_on: a SQL statement that is asked every few seconds: it works while that gives
            NULL, false or no row; a text is the reason why it holds back.
        only: the hours in which it works, as in ``"Mon-Fri 22:00-06:00 Europe/Berlin"``.
        max_rows_per_second: of all its lanes together.
    """

    max_replica_lag: float | None
    max_lock_waits: int | None
    throttle_on: str | None
    only: str | None
    max_rows_per_second: float | None


class Limits(ThrottleOptions, total=False):
    """What may be said at each submit, instead of what the job says.

    Attributes:
        max_lanes: chunks at work at once at most; None for as many as workers have slots.
    """

    max_lanes: int | None


@dataclass(frozen=True, slots=True)
class Throttle:
    """The same, checked: what a run keeps."""

    max_replica_lag: float | None = None
    max_lock_waits: int | None = None
    throttle_on: str | None = None
    only: str | None = None
    max_rows_per_second: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in self.as_dict().values())

    @property
    def gated(self) -> bool:
        """Whether something has to be looked at before it may work."""
        return bool(replace(self, max_rows_per_second=None))

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same with some options given anew.

        Raises:
            ValueError: a value cannot be meant: its option, and what it must be.
        """
        for name, value in changes.items():
            if value is not None:
                check(name, value)
        return replace(self, **changes)

    def chunk_size(self, wanted: int) -> int:
        """How large a chunk may be, so that the pace is even."""
        if self.max_rows_per_second is None:
            return wanted
        return max(1, min(wanted, int(self.max_rows_per_second * _SMOOTH)))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse; what an older version did not know is not asked for."""
        return cls(**{one.name: values.get(one.name) for one in fields(cls)})

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """What is kept of one; None: it holds back on nothing."""
        return cls.from_dict(json.loads(text)) if text else cls()

    def words(self) -> list[str]:
        """Each rule as people read it."""
        said = {
            "max_replica_lag": "replica lag at most {:g} s",
            "max_lock_waits": "at most {} sessions waiting for locks",
            "throttle_on": "as long as its check says nothing",
            "only": "only {}",
            "max_rows_per_second": "at most {:,g} rows/s",
        }
        given = self.as_dict()
        return [text.format(given[name]) for name, text in said.items() if given[name] is not None]


#: Of a run that holds back on nothing.
NO_THROTTLE = Throttle()
#: The names of the options.
OPTIONS: tuple[str, ...] = tuple(one.name for one in fields(Throttle))
#: Those that only PostgreSQL can tell.
OF_POSTGRESQL: tuple[str, ...] = ("max_replica_lag", "max_lock_waits")


def check(name: str, value: object) -> None:
    """Make sure that an option's value can be meant.

    Raises:
        ValueError: it cannot: what it must be.
    """
    number = type(value) in (int, float) and 0 < value < float("inf")  # type: ignore[operator]
    if name == "max_replica_lag" and not number:
        raise ValueError("seconds above 0")
    if name == "max_rows_per_second" and not number:
        raise ValueError("a number of rows above 0")
    if name == "max_lock_waits" and (type(value) is not int or value < 0):
        raise ValueError("a whole number from 0 up")
    if name == "throttle_on":
        length = len(value.strip()) if isinstance(value, str) else 0
        if not 0 < length <= _LONGEST_CHECK:
            raise ValueError("a SQL statement, as text")
    if name == "only":
        if not isinstance(value, str):
            raise ValueError("hours, as text")
        TimeWindow.parsed(value)
