"""The ``breakbulk.web.*`` settings of a Pyramid application, as its ``.ini`` gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from breakbulk.errors import ConfigurationError

PREFIX = "breakbulk.web."
_PATH = re.compile(r"(/[\w.~-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What the dashboard reads from the settings of the application that it is part of.

    Attributes:
        path: where it is, below the application's own root.
        title: shown at the top, to tell one installation from another.
    """

    path: str = "/breakbulk"
    title: str = "Breakbulk"

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ConfigurationError(
                f"{PREFIX}path must be a path below the root, such as /breakbulk, not"
                f" {self.path!r}."
            )
        if not self.title:
            raise ConfigurationError(f"{PREFIX}title must be text, not ''.")


def read(settings: Mapping[str, Any]) -> WebSettings:
    """The dashboard's settings.

    Raises:
        ConfigurationError: one is unknown, or cannot be.
    """
    known = [field.name for field in fields(WebSettings)]
    given = {
        key.removeprefix(PREFIX): str(value).strip()
        for key, value in settings.items()
        if key.startswith(PREFIX)
    }
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            there = ", ".join(f"{PREFIX}{one}" for one in known)
            hint = f"did you mean {PREFIX}{close[0]}?" if close else f"there are {there}."
            raise ConfigurationError(f"There is no setting {PREFIX}{name}: {hint}")
    if "path" in given:
        given["path"] = given["path"].rstrip("/")
    return WebSettings(**given)
