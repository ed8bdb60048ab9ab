from __future__ import annotations

import json

import pytest

from breakbulk.console.printable import printable, printable_json, printable_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("over\rwritten", r"over\rwritten"),
        ("back\x08\x7f", r"back\x08\x7f"),
        ("\u202etxt.exe\u202c\u2066", r"\u202etxt.exe\u202c\u2066"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("Äpfel ≈ 日本 …", "Äpfel ≈ 日本 …"),
    ],
)
def test_nothing_steers_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_line_is_one_line() -> None:
    assert printable_line("one\ntwo\x1b") == r"one two\x1b"


def test_json_still_means_the_same() -> None:
    value = {"message": "".join(map(chr, range(0x300))) + "\u202e\u2069"}
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert printable(shown) == shown
