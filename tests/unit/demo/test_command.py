"""The command line of the demo, as far as it goes without starting anything."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from breakbulk.cli import breakbulk


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rows", "0"], "0 is not in the range"),
        (["--chunk-size", "0"], "0 is not in the range"),
        (["--workers", "-1"], "-1 is not in the range"),
        (["--rows", "many"], "not a valid integer"),
        (["--database", "mysql://h/d"], "Breakbulk has no ledger for mysql"),
        (["--broker", "memory://"], "leave --broker out"),
        (["--keep", __file__], "is a file"),
        (["--once", "--stay"], "Give either --once or --stay"),
        (["--record", "turns.jsonl"], "--record needs --autoscale"),
        (["--unknown"], "No such option"),
    ],
)
def test_bad_usage_is_told_at_once(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(breakbulk, ["demo", *arguments])
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_help_tells_the_exit_codes() -> None:
    result = CliRunner().invoke(breakbulk, ["demo", "--help"])
    assert result.exit_code == 0
    options = {
        "rows",
        "chunk-size",
        "workers",
        "autoscale",
        "record",
        "keep",
        "once",
        "stay",
        "json",
        "database",
        "broker",
    }
    assert options <= set(re.findall(r"--([a-z-]+)", result.output))
    assert "130  Ctrl-C before the end" in result.output
