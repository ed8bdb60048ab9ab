"""A wrong clock: on the PYTHONPATH of a process it shows another time than everybody else's.

Python imports this module by its name before anything else, so nobody has seen the right time.
"""

import datetime as dt
import os
import time

_OFF = float(os.environ.get("CLOCK_IS_OFF_BY", "0"))
_time, _time_ns = time.time, time.time_ns
_datetime = dt.datetime


def _wrong_time() -> float:
    return _time() + _OFF


def _wrong_time_ns() -> int:
    return _time_ns() + int(_OFF * 1_000_000_000)


class _WrongDatetime(_datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "_WrongDatetime":
        return cls.fromtimestamp(_wrong_time(), tz)

    @classmethod
    def utcnow(cls) -> "_WrongDatetime":
        return cls.fromtimestamp(_wrong_time(), dt.UTC).replace(tzinfo=None)


if _OFF:
    time.time, time.time_ns = _wrong_time, _wrong_time_ns
    dt.datetime = _WrongDatetime  # type: ignore[misc]
