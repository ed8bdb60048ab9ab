"""Is it the same statement as in the other process?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from breakbulk.errors import SourceError

if TYPE_CHECKING:
    from sqlalchemy import Select


_DIALECT = make_url("postgresql+psycopg://").get_dialect()()


def fingerprint(statement: Select[*tuple[Any, ...]]) -> str:
    """Return SHA-256 in hex of a statement's SQL text and bound values.

    The text is PostgreSQL's whatever the database, so that no connection is needed.

    Raises:
        SourceError: a bound value has no text that is the same in every process.
    """
    compiled = statement.compile(dialect=_DIALECT)
    values = "\0".join(f"{name}={_text(value)}" for name, value in sorted(compiled.params.items()))
    return hashlib.sha256(f"{compiled.string}\0{values}".encode()).hexdigest()


def _text(value: object) -> str:
    kind = type(value)
    if isinstance(value, Enum):
        return f"{kind.__qualname__}.{value.name}"
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(f'{_text(k)}:{_text(v)}' for k, v in value.items()))}}}"
    if isinstance(value, AbstractSet):
        return f"{{{','.join(sorted(map(_text, value)))}}}"
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return f"[{','.join(map(_text, value))}]"
    if kind.__repr__ is object.__repr__:
        raise SourceError(
            f"The source compares with a {kind.__qualname__} that has no text of its own, so other "
            "processes could not tell whether it is the same; compare with plain values."
        )
    return f"{kind.__qualname__}:{value!r}"
