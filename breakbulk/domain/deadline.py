"""A time by which something should have ended, as people write it."""

from __future__ import annotations

from datetime import datetime

from breakbulk.errors import ParameterError


def parse_deadline(text: str) -> datetime | float:
    """A time with its zone, or a number of seconds from now.

    Raises:
        ParameterError: it is neither.
    """
    try:
        seconds = float(text)
    except ValueError:
        return _moment(text)
    if 0 <= seconds < float("inf"):
        return seconds
    raise ParameterError(f"{text} is no number of seconds from 0 up.")


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError(
            f"{text!r} is no time, as in 2026-02-01T06:00Z, and no number of seconds."
        ) from None
    if at.tzinfo is None:
        raise ParameterError(
            f"{text!r} says no zone: write {text}Z for UTC, or {text}+01:00 and the like."
        )
    return at
