"""The dashboard's settings in a Pyramid application."""

from __future__ import annotations

import pytest

from breakbulk.errors import ConfigurationError
from breakbulk.web.settings import WebSettings, read


def test_what_is_not_set_has_a_default() -> None:
    assert read({"breakbulk.slice_seconds": "2"}) == WebSettings(
        path="/breakbulk", title="Breakbulk"
    )


def test_what_an_ini_gives() -> None:
    given = {"breakbulk.web.path": " /ops/bulk/ ", "breakbulk.web.title": "Live"}
    assert read(given) == WebSettings(path="/ops/bulk", title="Live")


@pytest.mark.parametrize("path", ["", "/", "breakbulk", "/{lang}/bulk", "//bulk", "/a b", "/*all"])
def test_a_path_that_cannot_be(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"breakbulk\.web\.path must be a path below"):
        read({"breakbulk.web.path": path})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("titel", r"did you mean breakbulk\.web\.title\?"),
        ("colour", r"there are breakbulk\.web\.path, breakbulk\.web\.title\."),
    ],
)
def test_one_that_is_misspelt(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        read({f"breakbulk.web.{name}": "x"})


def test_a_title_has_to_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"breakbulk\.web\.title must be text"):
        read({"breakbulk.web.title": " "})
