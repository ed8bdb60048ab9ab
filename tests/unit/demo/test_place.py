"""The file by which the processes of a demo find one another."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from breakbulk.demo.place import VARIABLE, Place
from breakbulk.errors import ConfigurationError

PLACE = Place("postgresql://u:secret@h/d", "redis://:secret@h/0", 500)


def test_comes_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "demo.json"
    PLACE.save(file)
    monkeypatch.setenv(VARIABLE, str(file))
    assert Place.from_environment() == PLACE


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    file.write_text("of an earlier demo")
    file.chmod(0o644)
    PLACE.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_says_what_to_do_when_nothing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=f"{VARIABLE} is not set: start `breakbulk demo`"):
        Place.from_environment()


@pytest.mark.parametrize("content", [None, "", "[]", '{"database": "x"}'])
def test_says_what_to_do_when_it_is_none(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "demo.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(VARIABLE, str(file))
    with pytest.raises(ConfigurationError, match="is not the file of a running demo"):
        Place.from_environment()
