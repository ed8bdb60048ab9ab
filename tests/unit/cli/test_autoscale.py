"""``breakbulk autoscale`` as far as it goes without starting anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from breakbulk.cli.application import Application

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Shop

_LOOK = ("autoscale", "--once", "--dry-run")


@pytest.fixture(autouse=True)
def logs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def test_a_dry_run_says_what_it_would_do_and_why(shop: Shop) -> None:
    shop.open()
    told = shop(*_LOOK)
    assert told.exit_code == 0, told.output
    assert told.stdout == "scaled out, 0 to 1: there are to be 1 to 4 nodes.\n"
    shop("run", "reprice", "--finish-by", "0")
    told = shop(*_LOOK, "--min", "0", "--max", "9")
    assert told.stdout == (
        "scaled out, 0 to 1: 3 s of work at a guess, the first deadline in 0 s: it takes 1 node.\n"
    )


def test_as_json(shop: Shop) -> None:
    shop.open()
    turn = json.loads(shop(*_LOOK, "--json", "--min", "2").stdout)
    assert turn["event"] == "turn"
    assert (turn["before"], turn["nodes"], turn["verb"]) == (0, 2, "scaled out")
    assert turn["late"] == []
    assert {"reason", "there", "ready", "lanes", "rows_per_second", "backlog_seconds"} <= set(turn)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--min", "5"), 1, "A minimum of 5 and a maximum of 4 nodes do not go together"),
        (("--slots-per-node", "0"), 2, "0 is not in the range"),
        (("--target", "0"), 2, "0.0 is not in the range"),
        (("--provider", "asg", "--region", "eu-central-1"), 2, "needs --group"),
        (("--provider", "nomad"), 2, "'nomad' is not one of"),
        (("--logs", __file__), 2, "is a file"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(
    shop: Shop, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    shop.open()
    result = shop(*_LOOK, *arguments)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_it_knows_how_a_worker_of_the_application_is_started(shop: Shop) -> None:
    shop.open()
    shop("jobs")
    assert Application("shopfront:bulk").celery_address() == "shopfront:app"


def test_a_worker_that_cannot_be_started_is_told_in_one_sentence(shop: Shop) -> None:
    shop.open()
    result = shop("autoscale", "--once", "--worker", "/no/such/celery worker")
    assert result.exit_code == 1
    assert "/no/such/celery cannot be started (No such file or directory)" in result.stderr
