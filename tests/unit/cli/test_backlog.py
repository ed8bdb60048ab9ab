"""``breakbulk backlog``, and a deadline at submit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shop


def test_backlog(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice", "--finish-by", "2126-02-01T06:00Z")
    told = shop("backlog").stdout.splitlines()
    assert [line.split()[:5] for line in told[:3]] == [
        ["QUEUE", "SLOTS", "LANES", "BACKLOG", "CHUNKS"],
        ["celery", "0", "0", "3.0", "s"],
        ["repairs", "0", "0", "0.0", "s"],
    ]
    assert re.fullmatch(
        r"1 +running +reprice +3.0 s +1.0 s +[\d.]+ s +0 +1 +by 2126-02-01 06:00:00 UTC", told[-1]
    ), told[-1]


def test_backlog_as_json_of_one_queue(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice", "--finish-by", "0", "--queue", "night")
    (queue,) = shop.json("backlog", "--queue", "night")["queues"]
    assert (queue["queue"], queue["backlog_seconds"], queue["late_runs"]) == ("night", 3.0, 1)
    told = shop.json("backlog", "--queue", "celery")
    assert (told["queues"][0]["desired_slots"], told["runs"]) == (0, [])
    (run,) = shop.json("backlog")["runs"]
    assert (run["run"], run["late"], run["desired_slots"]) == (1, True, 3)
    assert run["seconds_left"] <= 0
    assert "(late with these lanes)" in shop("backlog").stdout


def test_another_target_takes_other_slots(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    shop("run", "mend", "-p", "only:=[1,2,3,4]", "--finish-by", "2126-02-01T06:00Z")
    asked = {300: [1, 1], 1: [3, 1], 2: [2, 1]}
    for target, desired in asked.items():
        told = shop.json("backlog", "--target", str(target))
        assert [run["desired_slots"] for run in told["runs"]] == desired
        assert [queue["desired_slots"] for queue in told["queues"]] == desired
    assert shop("backlog", "--target", "1").stdout.splitlines()[1].split()[-1] == "3"
    refused = shop("backlog", "--target", "0")
    assert refused.exit_code == 2
    assert "0.0 is not in the range" in refused.stderr


def test_a_deadline_is_shown_with_the_run(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice", "--finish-by", "2126-02-01T07:00+01:00")
    assert "end by     2126-02-01 06:00:00 UTC" in shop("status", "1").stdout
    assert shop.json("status", "1")["run"]["finish_by"] == "2126-02-01T06:00:00+00:00"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("soon", "'soon' is no time"),
        ("2126-02-01T06:00", "says no zone"),
        ("-1", "no number of seconds"),
        ("nan", "no number of seconds"),
    ],
)
def test_what_is_no_deadline_is_refused(shop: Shop, given: str, why: str) -> None:
    shop.open()
    result = shop("run", "reprice", f"--finish-by={given}")
    assert result.exit_code == 2
    assert why in result.stderr
    assert shop.json("runs")["runs"] == []
