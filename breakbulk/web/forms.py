"""The start form of a job, made from its typed parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from breakbulk.errors import ParameterError
from breakbulk.jobs import JobSpec, Parameter

_KINDS: dict[type[Any], str] = {
    bool: "checkbox",
    int: "number",
    float: "decimal",
    Decimal: "decimal",
    str: "text",
    date: "date",
    datetime: "moment",
}
#: So that a field named like one of our own does no harm.
PREFIX = "p."
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Field:
    """A field for one parameter.

    Attributes:
        kind: what the browser is to offer: ``text``, ``number``, ``decimal``, ``checkbox``,
            ``date``, ``moment``, ``choice``, ``secret`` or ``json``.
        value: what stands in it.
        choices: all that may be chosen; the empty one for none.
    """

    name: str
    kind: str
    type_name: str
    required: bool
    value: str
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in the form."""
        return PREFIX + self.name


def fields_of(spec: JobSpec, given: Mapping[str, str] | None = None) -> list[Field]:
    """The fields of a job, filled with what was given or with the defaults."""
    return [
        Field(
            name,
            _kind(parameter),
            parameter.type_name,
            parameter.required,
            _default(spec, parameter) if given is None else _again(parameter, given),
            _choices(parameter),
        )
        for name, parameter in spec.parameters.items()
    ]


def _again(parameter: Parameter, given: Mapping[str, str]) -> str:
    """What was typed; a secret is typed anew, because a page holds none."""
    return "" if parameter.masked else given.get(PREFIX + parameter.name, "")


def values_of(spec: JobSpec, given: Mapping[str, str]) -> dict[str, Any]:
    """Parameters as a form gives them: text, or what JSON says; what is left empty is left out.

    Raises:
        ParameterError: a field holds something that is not JSON where that is needed.
    """
    values: dict[str, Any] = {}
    for name, parameter in spec.parameters.items():
        kind, text = _kind(parameter), given.get(PREFIX + name, "")
        if kind == "checkbox":
            values[name] = text == "on"
        elif kind == "json" and text.strip():
            try:
                values[name] = json.loads(text)
            except ValueError as error:
                raise ParameterError(
                    f"The parameter {name!r} of {spec.name} takes JSON, as in"
                    f' [1, 2] or {{"a": 1}} ({error}).'
                ) from error
        elif text or (kind == "text" and parameter.required):
            values[name] = text
    return values


def size_of(given: Mapping[str, str]) -> dict[str, Any]:
    """How large a form wants chunks; what is left empty is as the job says.

    Raises:
        ParameterError: a field holds no number.
    """
    rows, seconds = (given.get(name, "").strip() for name in ("chunk_size", "chunk_seconds"))
    found: dict[str, Any] = {"chunk_size": "auto" if rows == "auto" else None}
    if rows and rows != "auto":
        if not (rows.isascii() and rows.isdecimal() and len(rows) < _DIGITS):
            raise ParameterError(
                f"The chunk size {rows[:20]!r} is no number of rows, and not auto."
            )
        found["chunk_size"] = int(rows)
    try:
        found["chunk_seconds"] = float(seconds) if seconds else None
    except ValueError:
        raise ParameterError(f"The chunk seconds {seconds[:20]!r} are no number.") from None
    return found


def _kind(parameter: Parameter) -> str:
    if parameter.masked:
        return "secret"
    if _options(parameter):
        return "choice"
    kind = _type(parameter)
    found = _KINDS.get(kind, "json") if isinstance(kind, type) else "json"
    # A box has two states: nothing would be a third one.
    return "json" if found == "checkbox" and kind is not parameter.type else found


def _type(parameter: Parameter) -> Any:
    """The parameter's type; where nothing is its default, that of what else it may be."""
    others = [one for one in get_args(parameter.type) if one is not NoneType]
    is_union = get_origin(parameter.type) in (Union, UnionType)
    may_be_left_out = not parameter.required and parameter.default is None
    return others[0] if is_union and may_be_left_out and len(others) == 1 else parameter.type


def _options(parameter: Parameter) -> tuple[str, ...]:
    """The words that a parameter takes, if it takes only some."""
    kind = _type(parameter)
    if get_origin(kind) is Literal:
        found = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        found = tuple(member.value for member in kind)
    else:
        return ()
    return found if all(isinstance(one, str) and one for one in found) else ()


def _choices(parameter: Parameter) -> tuple[str, ...]:
    options = _options(parameter)
    if not options or parameter.masked:
        return ()
    return options if parameter.default is not None and not parameter.required else ("", *options)


def _default(spec: JobSpec, parameter: Parameter) -> str:
    if parameter.required or parameter.masked or parameter.default is None:
        return ""
    kind = _kind(parameter)
    if kind == "checkbox":
        return "on" if parameter.default else ""
    if kind == "json":
        return json.dumps(spec.plain(parameter, parameter.default), ensure_ascii=False)
    if isinstance(parameter.default, Enum):
        return str(parameter.default.value)
    if isinstance(parameter.default, (date, datetime)):
        return parameter.default.isoformat()
    return str(parameter.default)
