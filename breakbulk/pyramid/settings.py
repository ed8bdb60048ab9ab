"""The ``breakbulk.*`` settings of a Pyramid application, as its ``.ini`` gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from typing import Any

from breakbulk.errors import ConfigurationError
from breakbulk.settings import Settings

PREFIX = "breakbulk."
#: Of the dashboard, which reads its own.
_OTHERS = ("breakbulk.web.",)
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidSettings:
    """What the add-on reads from the application's settings.

    Attributes:
        database: where the ledger and the rows are: a URL, or the dotted name of an engine, a
            sessionmaker, or a callable that returns one. Default:
            ``registry["dbsession_factory"]``, where the SQLAlchemy cookiecutter puts its
            sessionmaker.
        schema: PostgreSQL schema of our tables; a prefix of their names on SQLite.
        data: where the rows are, when that is another database.
        at_least_once: accept that then a crash may process a chunk twice.
        secret_key: what seals secret parameters; several parted by commas, the first one seals.
        celery: dotted name of the Celery application. Default: one is made, of the ``celery.*``
            settings.
        dbsession: the attribute of a request that holds its session.
        base_url: what URLs begin with that are made in a worker, where no browser has asked.
    """

    database: object = None
    schema: str = "breakbulk"
    data: object = None
    at_least_once: bool = False
    secret_key: str | None = None
    celery: object = None
    dbsession: str = "dbsession"
    base_url: str = "http://localhost"


def read(settings: Mapping[str, Any]) -> tuple[PyramidSettings, Settings]:
    """The add-on's settings, and the knobs of the installation.

    Raises:
        ConfigurationError: one is unknown or of the wrong kind.
    """
    ours = {field.name: field for field in fields(PyramidSettings)}
    knobs = {field.name: field for field in fields(Settings)}
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for key, value in settings.items():
        if not key.startswith(PREFIX) or key.startswith(_OTHERS):
            continue
        name = key.removeprefix(PREFIX)
        if name in ours:
            found[0][name] = _converted(key, ours[name], value)
        elif name in knobs:
            found[1][name] = _converted(key, knobs[name], value)
        else:
            raise ConfigurationError(_unknown(key, [*ours, *knobs]))
    return PyramidSettings(**found[0]), Settings(**found[1])


def _unknown(key: str, names: list[str]) -> str:
    close = get_close_matches(key.removeprefix(PREFIX), names, n=1)
    known = ", ".join(f"{PREFIX}{name}" for name in names)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"there are {known}."
    return f"There is no setting {key}: {hint}"


def _converted(key: str, field: Field[Any], value: Any) -> Any:
    word, convert = _KINDS[str(field.type)]
    try:
        return convert(value.strip() if isinstance(value, str) else value)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{key} must be {word}, not {value!r}.") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def truth(value: Any) -> bool:
    """Whether a word says yes.

    Raises:
        KeyError: it says neither yes nor no.
    """
    return value if isinstance(value, bool) else _WORDS[value.lower()]


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, str) else _number_of(int, value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, str) else _number_of((int, float), value)


def _number_of(kinds: Any, value: Any) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError
    return value


def _given(value: Any) -> Any:
    if value == "":
        raise ValueError
    return value


_KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "object": ("a URL, a dotted name, or an object", _given),
    "str": ("text", _text),
    "str | None": ("text", _text),
    "bool": ("true or false", truth),
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
}
