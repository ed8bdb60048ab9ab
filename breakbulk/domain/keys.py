"""Keys as values and as text: how a place in a source's key space is written down.

The ledger stores bounds as text and compares them as text, so the text is canonical (one key,
one text) and exact (reading it back gives the same values of the same types). Whether one key
is higher than another is only ever asked of the database that keeps the rows: Python's order
of strings, for one, is not a collation's.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from breakbulk.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

KeyValue = int | str | bool | float | Decimal | bytes | UUID | datetime | date | time
"""What one key column may hold."""

Key = tuple[KeyValue, ...]
"""One value per key column, in the order of the key columns."""


def encode_key(key: Key) -> str:
    """Write a key as compact JSON: ``[5]``, ``["abc",{"uuid":"…"}]``.

    Moments with a zone are written in UTC, because a connection's time zone is a matter of
    display: two workers must write the same moment the same way.

    Raises:
        SourceError: a value is None or of a type that cannot be a key.
    """
    return json.dumps([_encode(value) for value in key], ensure_ascii=False, separators=(",", ":"))


def decode_key(text: str) -> Key:
    """Read a key back: the exact inverse of :func:`encode_key`.

    Raises:
        SourceError: the text was not written by :func:`encode_key`.
    """
    try:
        values = json.loads(text)
        if isinstance(values, list):
            return tuple(_decode(value) for value in values)
    except (ValueError, KeyError, ArithmeticError):
        pass
    raise SourceError(f"{text!r} is not a key as the ledger writes it.")


def measure(value: KeyValue) -> float | None:
    """Where a value lies on a line, to reckon distances by; None where that means nothing."""
    if type(value) is int or isinstance(value, (float, Decimal)):
        return float(value)
    if isinstance(value, UUID):
        return float(value.int)
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    return None


def _encode(value: object) -> object:
    # Exact types, no subclasses: a subclass would come back as its base, as another value.
    kind = type(value)
    if kind is bool or kind is int:
        return value
    if kind is str:
        return _storable_text(str(value))
    if isinstance(value, float) and kind is float and math.isfinite(value):
        return value
    tag = _TAGS.get(kind)
    if tag is None:
        raise SourceError(
            f"{value!r} is of type {kind.__name__}, which cannot be part of a key; walk the rows "
            f"by columns of {', '.join(sorted(known.__name__ for known in _KINDS))}."
        )
    try:
        return {tag: _WRITERS[tag](value)}
    except (OverflowError, ValueError) as error:
        raise SourceError(f"{value!r} cannot be written down as a key: {error}.") from error


def _decode(value: Any) -> KeyValue:
    if isinstance(value, (bool, int, str, float)):
        return value
    ((tag, text),) = value.items() if isinstance(value, dict) else ((None, None),)
    if tag not in _READERS or not isinstance(text, str):
        raise ValueError(value)
    return _READERS[tag](text)


def _storable_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SourceError(f"{text!r} is not valid text, so it cannot be a key.") from None
    return text


def _write_datetime(value: datetime) -> str:
    return (value if value.utcoffset() is None else value.astimezone(UTC)).isoformat()


def _read_datetime(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is None else value.astimezone(UTC)


_TAGS: dict[type, str] = {
    Decimal: "decimal",
    UUID: "uuid",
    datetime: "datetime",
    date: "date",
    time: "time",
    bytes: "bytes",
    float: "float",  # only nan and the infinities: JSON has no word for them
}
_KINDS: tuple[type, ...] = (bool, int, str, *_TAGS)
_WRITERS: dict[str, Callable[[Any], str]] = {
    "decimal": str,
    "uuid": str,
    "datetime": _write_datetime,
    "date": date.isoformat,
    "time": time.isoformat,
    "bytes": bytes.hex,
    "float": str,
}
_READERS: dict[str, Callable[[str], KeyValue]] = {
    "decimal": Decimal,
    "uuid": UUID,
    "datetime": _read_datetime,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "bytes": bytes.fromhex,
    "float": float,
}
