"""The ``celery.*`` settings of a Pyramid application as Celery wants them.

All that an ``.ini`` has is text. Celery knows the type of each of its settings, so the text of
``celery.worker_prefetch_multiplier`` becomes a number; a part of a mapping has a name of its own,
as in ``celery.broker_transport_options.visibility_timeout``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from celery.app.defaults import NAMESPACES, Option, flatten

from breakbulk.errors import ConfigurationError
from breakbulk.pyramid.settings import truth

PREFIX = "celery."
_OPTIONS: dict[str, Option] = dict(flatten(NAMESPACES))
#: So much alike a name of Celery's must be to be a slip of the pen: others have settings, too.
_ALIKE = 0.85


def celery_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the application's settings say for Celery.

    Raises:
        ConfigurationError: one is misspelt, or of the wrong kind.
    """
    found: dict[str, Any] = {}
    # Wholes before their parts.
    for key in sorted(key for key in settings if key.startswith(PREFIX)):
        name, _, part = key.removeprefix(PREFIX).partition(".")
        if name not in _OPTIONS and (close := get_close_matches(name, _OPTIONS, 1, _ALIKE)):
            raise ConfigurationError(
                f"Celery has no setting {key}: did you mean {PREFIX}{close[0]}?"
            )
        if part:
            _put(found, key, [name, *part.split(".")], settings[key])
        else:
            found[name] = _converted(key, _OPTIONS.get(name), settings[key])
    return found


def _put(found: dict[str, Any], key: str, path: list[str], value: Any) -> None:
    *steps, last = path
    whole: Any = found
    for step in steps:
        whole = whole.setdefault(step, {})
        if not isinstance(whole, dict):
            raise ConfigurationError(f"{key} is a part of {PREFIX}{step}, which is no mapping.")
    whole[last] = _json_or_text(value)


def _converted(key: str, option: Option | None, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind = getattr(option, "type", "any")
    name = kind if isinstance(kind, str) else kind.__name__
    word, convert = _KINDS.get(name, ("", _json_or_text))
    try:
        return convert(value.strip())
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{key} must be {word}, not {value!r}.") from None


def _json_or_text(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _list(text: str) -> list[Any]:
    return list(json.loads(text)) if text.startswith("[") else text.replace(",", " ").split()


def _mapping(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


_KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "bool": ("true or false", truth),
    "int": ("a whole number", int),
    "float": ("a number", float),
    "string": ("text", str),
    "str": ("text", str),
    "bytes": ("text", str.encode),
    "tuple": ("a list", _list),
    "list": ("a list", _list),
    "dict": ("a mapping in JSON, or given part by part", _mapping),
}
