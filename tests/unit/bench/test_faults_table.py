"""The table of faults says what was measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.faults.outcome import Outcome
from bench.faults.table import grid, markdown

_RESULTS = Path(__file__).parents[3] / "bench" / "results" / "faults.json"

_AS_IT_SHOULD_BE = {
    "system": "any",
    "fault": "some",
    "callbacks": 1,
    "missed": 0,
    "twice": 0,
    "seconds": 2.04,
    "early": 0,
    "alarms": 0,
    "done_before": 25_000,
    "restarts": 0,
    "whole": False,
}
_NEVER = {"callbacks": 0, "seconds": None}


@pytest.mark.parametrize(
    ("changes", "lost_rows", "words"),
    [
        ({}, 0, "right, 2.0 s"),
        ({"missed": 1, "early": 1}, 1, "right, 2.0 s"),
        ({}, 1, "called back, 2.0 s"),
        ({"missed": 500, "early": 500}, 1, "called back, 500 rows missed, 2.0 s"),
        ({"early": 70_000}, 0, "called back, **too early**, with 70,000 rows missing, 2.0 s"),
        ({"twice": 1}, 0, "called back, 1 row **twice**, 2.0 s"),
        ({"alarms": 1}, 0, "called back, told of failure, 2.0 s"),
        ({"callbacks": 2}, 0, "called back **twice**, 2.0 s"),
        ({"callbacks": 4}, 0, "called back **4 times**, 2.0 s"),
        (_NEVER, 0, "**no callback**"),
        ({**_NEVER, "missed": 3_500}, 0, "**no callback**, 3,500 rows missed"),
        ({**_NEVER, "alarms": 1}, 0, "**no callback**, told of failure"),
    ],
)
def test_a_cell_says_what_was_wrong(changes: dict[str, Any], lost_rows: int, words: str) -> None:
    assert Outcome(**{**_AS_IT_SHOULD_BE, **changes}).words(lost_rows) == words


def test_the_grid_has_a_reason_where_nothing_was_measured() -> None:
    outcome = {**_AS_IT_SHOULD_BE, "system": "one", "fault": "flood"}
    results = {
        "systems": [
            {"name": "one", "title": "One", "lacks": {}},
            {"name": "two", "title": "Two", "lacks": {"flood": "no cellar"}},
        ],
        "faults": [{"name": "flood", "title": "water", "lost_rows": 0}],
        "outcomes": [outcome],
    }
    assert grid(results).splitlines() == [
        "| fault | One | Two |",
        "| --- | --- | --- |",
        "| water | right, 2.0 s | no cellar |",
    ]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """What was measured last."""
    found: dict[str, Any] = json.loads(_RESULTS.read_text("utf-8"))
    return found


def test_the_page_says_what_was_measured(results: dict[str, Any]) -> None:
    assert _RESULTS.with_suffix(".md").read_text("utf-8") == markdown(results)


def test_every_system_was_struck_by_every_fault_that_can_strike_it(
    results: dict[str, Any],
) -> None:
    struck = [(one["fault"], one["system"]) for one in results["outcomes"]]
    assert struck == [
        (fault["name"], system["name"])
        for fault in results["faults"]
        for system in results["systems"]
        if fault["name"] not in system["lacks"]
    ]


def test_faults_struck_in_the_middle_of_the_work(results: dict[str, Any]) -> None:
    in_the_callback = {"in-callback", "after-callback"}
    for one in results["outcomes"]:
        share = one["done_before"] / results["job"]["rows"]
        assert share == 1 if one["fault"] in in_the_callback else 0.1 <= share <= 0.9, one
