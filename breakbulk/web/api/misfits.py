"""Where a request does not fit the document, in words that quote no value of it.

What was sent may be a secret, or as long as the request. The name of a field that is not known is
told, if it may be one: whoever has misspelt it has to find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from openapi_core.validation.request.exceptions import ParameterValidationError

_MOST = 20
_LONGEST_NAME = 64


def misfits(errors: Iterable[Exception]) -> Iterator[dict[str, str]]:
    """One entry for each: ``detail``, and where it is.

    The place is ``pointer`` in the body, ``parameter`` in the query, ``header``, or ``path``.
    """
    for error in list(errors)[:_MOST]:
        place: dict[str, str] = {}
        if isinstance(error, ParameterValidationError):
            kind = {"query": "parameter", "cookie": "parameter"}.get(error.location, error.location)
            place = {str(kind): str(error.name)}
        found = list(_schema_errors(error))[:_MOST]
        if not found:
            yield {"detail": _bare(error), **place}
        for one in found:
            where = place or {"pointer": _pointer(one)}
            yield {"detail": _sentence(one), **where}


def of_parameter(name: str, detail: str) -> list[dict[str, str]]:
    """The one entry for a parameter of a job that does not fit."""
    return [{"detail": detail, "pointer": "#/parameters" + _step(name)}]


def of_query(unknown: Iterable[str], known: Iterable[str]) -> list[dict[str, str]]:
    """One entry for each parameter of the query that is not known."""
    listed = ", ".join(known) or "none"
    return [
        {"detail": f"It is not known here; there are: {listed}", "parameter": name[:_LONGEST_NAME]}
        for name in list(unknown)[:_MOST]
    ]


def _schema_errors(error: BaseException | None) -> Iterator[Any]:
    """What jsonschema has found, somewhere down the causes."""
    while error is not None:
        yield from getattr(error, "schema_errors", ())
        error = error.__cause__


def _bare(error: Exception) -> str:
    name = getattr(error, "name", None)
    if name is None:
        return "The body is missing or cannot be read"
    return f"{name} is missing or cannot be read"


def _pointer(error: Any) -> str:
    steps = [str(step) for step in error.absolute_path]
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        steps += missing[:1]
    if error.validator == "additionalProperties":
        unknown = [name for name in error.instance if name not in error.schema["properties"]]
        steps += unknown[:1]
    return "#" + "".join(_step(step) for step in steps)


def _step(name: str) -> str:
    """A step of a pointer; nothing where the name is longer than names are."""
    return "/" + name.replace("~", "~0").replace("/", "~1") if len(name) <= _LONGEST_NAME else ""


def _sentence(error: Any) -> str:
    value = error.validator_value
    said = {
        "type": "It must be of the type {}",
        "enum": "It must be one of {}",
        "required": "It is missing",
        "additionalProperties": "It has a field that is not known here",
        "minimum": "It must be at least {}",
        "maximum": "It must be at most {}",
        "minLength": "It must not be empty",
        "maxLength": "It must have at most {} characters",
        "maxItems": "It must have at most {} items",
        "pattern": "It must look like {}",
        "format": "It must be a {}",
        "not": "Fields of it exclude each other",
    }
    return said.get(error.validator, "It does not fit").format(_listed(value))


def _listed(words: Any) -> str:
    return " or ".join(map(str, words)) if isinstance(words, list) else str(words)
