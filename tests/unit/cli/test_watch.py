"""Following a run: what is shown, where, and the exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shop


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("status", "code"),
    [("succeeded", 0), ("partial", 3), ("cancelled", 4), ("paused", 5), ("held", 5), ("failed", 8)],
)
def test_exit_code_tells_the_status(shop: Shop, status: str, code: int) -> None:
    shop.open()
    shop("run", "reprice")
    shop.sql(f"UPDATE breakbulk_runs SET status = '{status}', reason = 'so it is'")
    result = shop("watch", "1")
    assert result.exit_code == code
    assert result.stdout.startswith("Run 1 of reprice ")
    assert f"{status} (so it is)" in result.stdout
    assert ("Go on with: breakbulk -A shopfront:bulk resume 1" in result.stderr) == (code == 5)
    hinted = "See what failed with: breakbulk -A shopfront:bulk errors 1" in result.stderr
    assert hinted == (status in {"partial", "failed"})
    assert shop("status", "1").exit_code == 0
    assert shop("status", "1", "--exit-code").exit_code == code


def test_out_of_time(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    result = shop("watch", "1", "--timeout", "0")
    assert result.exit_code == 6
    assert not result.stdout
    assert result.stderr.splitlines() == [
        "run 1 running (waiting: no worker is running): 0 of ≈ 5 rows (0.0 %), 0 rows/s, 0 lanes, "
        + result.stderr.splitlines()[0].rpartition(", ")[2],
        (
            "Run 1 is still running after 0 s; it goes on."
            " Come back with: breakbulk -A shopfront:bulk watch 1"
        ),
    ]
    assert shop("status", "1", "--exit-code").exit_code == 6


def test_run_behind_another_is_waited_for(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    result = shop("run", "reprice", "--overlap", "wait", "--wait", "--timeout", "0")
    assert result.exit_code == 6
    assert "Run 2 is still held after 0 s" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["watch", "1"], ["run", "mend", "-p", "only:=[1]", "--wait"]]
)
def test_ctrl_c_lets_go_and_never_cancels(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    shop.open()
    shop("run", "reprice")
    monkeypatch.setattr("breakbulk.console.watching.time.sleep", _interrupted)
    result = shop(*arguments)
    number = "1" if arguments[0] == "watch" else "2"
    assert result.exit_code == 6
    assert f"Let go of run {number}; it goes on." in result.stderr
    assert f"Come back with: breakbulk -A shopfront:bulk watch {number}" in result.stderr
    assert shop.json("status", number)["run"]["status"] == "running"


def test_run_and_watch(shop: Shop) -> None:
    shop.open(eager=True)
    result = shop("run", "reprice", "--watch")
    assert result.exit_code == 0
    first, last = result.stdout.splitlines()
    assert first == 'Run 1 of reprice(factor=2, password="***") is submitted, ≈ 5 rows.'
    assert last.startswith("Run 1 of reprice succeeded: 5 rows in 3 chunks, ")
    assert result.stderr.startswith("run 1 succeeded: 5 of 5 rows (100.0 %), ")


def test_run_and_wait_is_silent(shop: Shop) -> None:
    shop.open(eager=True)
    result = shop("run", "reprice", "--wait")
    assert result.exit_code == 0
    assert not result.stderr


def test_run_and_wait_prints_one_document(shop: Shop) -> None:
    shop.open(eager=True)
    document = shop.json("run", "reprice", "--wait")
    assert document["exit_code"] == 0
    assert document["run"]["status"] == document["progress"]["status"] == "succeeded"


def test_run_and_watch_prints_events(shop: Shop) -> None:
    shop.open(eager=True)
    result = shop("run", "reprice", "--watch", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["submitted", "progress", "ended"]
    assert events[0]["created"] is True
    assert events[1]["rows_done"] == 5
    assert events[2]["exit_code"] == result.exit_code == 0
    assert not result.stderr


def test_run_of_which_nothing_succeeds(shop: Shop) -> None:
    shop.open(eager=True)
    shop.sql("CREATE TRIGGER stop BEFORE UPDATE ON product BEGIN SELECT RAISE(ABORT, 'no!'); END")
    result = shop("run", "reprice", "--wait")
    assert result.exit_code == shop("status", "1", "--exit-code").exit_code == 5
    assert "Run 1 of reprice is held (nothing succeeds any more" in result.stdout
    assert "no!" in result.stdout
