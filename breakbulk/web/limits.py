"""What a run holds back on, as fields of a form.

A check in SQL is none of them: whoever may steer runs here need not be one who may ask the database
whatever he likes. It can be taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from breakbulk.domain.throttle import Throttle, ThrottleOptions
from breakbulk.errors import ParameterError

#: So that a job's own parameter of the same name does no harm.
PREFIX = "limit."
_LONGEST = 200
_FIELDS = {
    "only": ("only in these hours", "Mon-Fri 22:00-06:00 Europe/Berlin"),
    "max_rows_per_second": ("rows a second at most", "500"),
    "max_replica_lag": ("seconds a replica may be behind", "10"),
    "max_lock_waits": ("sessions that may wait for locks", "5"),
}
_CHECK = "throttle_on"


@dataclass(frozen=True, slots=True)
class LimitField:
    """A field for one limit.

    Attributes:
        example: what one might write there.
        value: what stands in it.
    """

    key: str
    label: str
    example: str
    value: str


def limit_fields(throttle: Throttle, given: Mapping[str, str] | None = None) -> list[LimitField]:
    """The fields, filled with what was given or with what a run or a job says."""
    known = throttle.as_dict()
    return [
        LimitField(
            PREFIX + name,
            label,
            example,
            _shown(known[name]) if given is None else given.get(PREFIX + name, ""),
        )
        for name, (label, example) in _FIELDS.items()
    ]


def limits_of(given: Mapping[str, str]) -> ThrottleOptions:
    """Limits as a form gives them: what is left empty is taken away.

    Raises:
        ParameterError: a field holds no number where one is needed.
    """
    limits: dict[str, Any] = {}
    for name in _FIELDS:
        if PREFIX + name not in given:
            continue
        text = given[PREFIX + name].strip()[:_LONGEST]
        limits[name] = _value(name, text) if text else None
    if given.get(PREFIX + _CHECK) == "none":
        limits[_CHECK] = None
    found: ThrottleOptions = limits  # type: ignore[assignment]
    return found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, text: str) -> Any:
    if name == "only":
        return text
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ParameterError(
            f"{_FIELDS[name][0].capitalize()}: {text[:20]!r} is no number."
        ) from None
