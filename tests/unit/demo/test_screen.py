"""The same events for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from breakbulk.demo.hints import hints
from breakbulk.demo.screen import Screen
from breakbulk.demo.servers import Servers


def test_people_get_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().say("submitted", "Run 1 is submitted.", run=1)
    Screen().say("result", "", run=1)
    assert capsys.readouterr().out == "Run 1 is submitted.\n"


def test_programs_get_facts_only(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=True)
    screen.say("submitted", "Run 1 is submitted.", run=1)
    screen.last_words("Stopping ...")
    assert json.loads(capsys.readouterr().out) == {"event": "submitted", "run": 1}


def test_nobody_can_end_what_is_read_by_a_program() -> None:
    assert not Screen(as_json=True).lasts
    assert not Screen().lasts  # pytest's standard output is no terminal


@pytest.mark.parametrize(
    ("database", "shell"),
    [
        ("postgresql+psycopg://u:secret@h:1/d", "psql postgresql://u@h:1/d\n"),
        ("sqlite:////var/my shop.db", "sqlite3 '/var/my shop.db'"),
    ],
)
def test_hints_can_be_pasted_and_keep_secrets(database: str, shell: str) -> None:
    text = hints(
        Path("/d/demo.ini"), Servers(database, "redis://:secret@h/0", None, None), 42, "http://h/"
    )
    assert shell in text
    assert "kill -9 42" in text
    assert " -A /d/demo.ini runs" in text
    assert "secret" not in text
