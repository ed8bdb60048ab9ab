"""What a job says when it fails goes to terminals and spreadsheets, and does nothing there."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from breakbulk.cli import breakbulk
from breakbulk.console.printable import printable

if TYPE_CHECKING:
    from click.testing import Result

    from tests.unit.cli.conftest import Shop

_EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\x08\r"


@pytest.fixture
def evil(shop: Shop) -> Shop:
    """A shop with one row that fails, and says so in a way that is no good."""
    shop.open(eager=True)
    shop.sql(
        "CREATE TRIGGER stop BEFORE UPDATE ON product WHEN OLD.id = 3"
        f" BEGIN SELECT RAISE(ABORT, '{_EVIL}'); END"
    )
    assert shop("run", "reprice").exit_code == 0
    assert shop.json("errors", "1")["quarantine"][0]["key"] == "[3]"
    return shop


def on_a_terminal(*arguments: str, charset: str = "utf-8") -> Result:
    """As where somebody looks: Click would take colours away before a pipe."""
    given = ["-A", "shopfront:bulk", *arguments]
    return CliRunner(charset=charset).invoke(breakbulk, given, color=True)


@pytest.mark.parametrize(
    "verb",
    [
        ["errors", "1"],
        ["errors", "1", "--group"],
        ["errors", "1", "--chunk", "2.0"],
        ["errors", "1", "--csv"],
        ["errors", "1", "--json"],
        ["status", "1"],
        ["status", "1", "--json"],
        ["watch", "1"],
        ["runs"],
    ],
    ids=" ".join,
)
def test_it_is_shown_and_does_nothing(evil: Shop, verb: list[str]) -> None:
    evil.sql(f"UPDATE breakbulk_runs SET reason = '{_EVIL}'")
    result = on_a_terminal(*verb)
    assert "owned" in result.output
    assert "\r" not in result.output.replace("\r\n", "\n")
    text = result.output.replace("\r\n", "\n")
    assert printable(text) == text


def test_a_refusal_is_shown_and_does_nothing(evil: Shop) -> None:
    result = on_a_terminal("retry", "1", "--error", _EVIL)
    assert result.exit_code == 1
    assert "owned" in result.output
    assert printable(result.output) == result.output
    assert evil.json("status", "1")["run"]["round"] == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n", "＝", "＠"])  # noqa: RUF001
def test_no_cell_is_a_formula(evil: Shop, start: str) -> None:
    cell = f"{start}HYPERLINK(1)"
    evil.sql(f"UPDATE breakbulk_quarantine SET message = '{cell}', place = '{cell}'")
    printed = on_a_terminal("errors", "1", "--csv").stdout
    (row,) = csv.DictReader(io.StringIO(printed, newline=""))
    for name in ("message", "place"):
        assert row[name].startswith("'")
        assert row[name].endswith("HYPERLINK(1)")
    assert row["key"] == "[3]"


def test_one_format_at_a_time(evil: Shop) -> None:
    result = evil("errors", "1", "--csv", "--json")
    assert result.exit_code == 2
    assert "Give --csv or --json, not both." in result.stderr


def test_a_terminal_that_has_not_all_characters_is_told_all_the_same(evil: Shop) -> None:
    evil.sql("UPDATE breakbulk_runs SET reason = '≈ 日本'")
    result = on_a_terminal("runs", charset="latin-1")
    assert result.exit_code == 0, result.output
    assert r"\u2248 \u65e5\u672c" in result.output
    assert json.loads(on_a_terminal("runs", "--json", charset="latin-1").stdout)
