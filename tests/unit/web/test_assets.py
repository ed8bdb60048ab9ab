from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.resources import files

import pytest

from breakbulk.web import assets

_STATIC = files("breakbulk.web").joinpath("static")
_VENDORED = tomllib.loads(_STATIC.joinpath("vendor", "VENDOR.toml").read_text())["file"]


@pytest.mark.parametrize("entry", _VENDORED, ids=lambda entry: entry["path"])
def test_what_is_not_ours_is_as_it_was_published(entry: dict[str, str]) -> None:
    content = _STATIC.joinpath("vendor", entry["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert entry["licence"] in {"MIT", "0BSD"}


def test_all_that_is_not_ours_is_listed_and_served() -> None:
    there = {path.name for path in _STATIC.joinpath("vendor").iterdir()} - {"VENDOR.toml"}
    assert {entry["path"] for entry in _VENDORED} == there
    assert {f"vendor/{name}" for name in there} < set(assets._FILES)


@pytest.mark.parametrize("name", ["breakbulk.css", "breakbulk.js", "icon.svg"])
def test_ours_load_nothing_from_elsewhere(name: str) -> None:
    text = assets.content(name).decode().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|url\(|eval\(|new Function|innerHTML", text)
