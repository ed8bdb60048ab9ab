"""The start form of a job, made from its typed parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Field:
    """A field for one parameter.

    Attributes:
        kind: what the browser is to offer: ``text``, ``number``, ``decimal``, ``checkbox``,
            ``date``, ``moment``, ``secret`` or ``json``.
        value: what stands in it.
    """

    name: str
    kind: str
    type_name: str
    required: bool
    value: str

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


def _kind(parameter: Parameter) -> str:
    if parameter.masked:
        return "secret"
    return _KINDS.get(parameter.type, "json") if isinstance(parameter.type, type) else "json"


def _default(spec: JobSpec, parameter: Parameter) -> str:
    if parameter.required or parameter.masked or parameter.default is None:
        return ""
    kind = _kind(parameter)
    if kind == "checkbox":
        return "on" if parameter.default else ""
    if kind == "json":
        return json.dumps(spec.plain(parameter, parameter.default), ensure_ascii=False)
    if isinstance(parameter.default, (date, datetime)):
        return parameter.default.isoformat()
    return str(parameter.default)
