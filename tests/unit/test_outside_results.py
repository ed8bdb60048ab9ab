"""The results of ``make outside``, which the documentation shows, against the scenarios."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from bench.outside import RIGHT, WRONG, markdown, tally
from tests.outside.scenario import ATTRIBUTE, Scenario

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "outside.json"
SCENARIOS = ROOT / "tests" / "outside"


def _results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
    return found


def _scenarios() -> dict[str, Scenario]:
    names = (f"tests.outside.{path.stem}" for path in SCENARIOS.glob("test_*.py"))
    return {
        name: getattr(test, ATTRIBUTE)
        for module in map(importlib.import_module, names)
        for name, test in vars(module).items()
        if hasattr(test, ATTRIBUTE)
    }


def test_the_page_is_made_from_the_file() -> None:
    assert RESULTS.with_suffix(".md").read_text("utf-8") == markdown(_results())


def test_every_scenario_was_run_against_both() -> None:
    results = _results()
    contestants = {one["name"] for one in results["contestants"]}
    assert {one["name"] for one in results["scenarios"]} == set(_scenarios()), "run: make outside"
    assert all(set(one["outcomes"]) == contestants for one in results["scenarios"])


def test_what_the_page_says_of_a_scenario_is_what_the_scenario_says() -> None:
    """Else a demand that was changed would be shown with what came of another one."""
    scenarios = _scenarios()
    for one in _results()["scenarios"]:
        declared = scenarios[one["name"]]
        said = (one["origin"], one["demands"], one["session"])
        assert said == (declared.origin, declared.demands, declared.session), "run: make outside"
        failures = {
            name: outcome["why"]
            for name, outcome in one["outcomes"].items()
            if outcome["outcome"] == WRONG
        }
        assert failures == declared.fails, one["name"]


def test_it_says_of_which_commit_it_is() -> None:
    results = _results()
    assert re.fullmatch("[0-9a-f]{40}", results["commit"])
    assert results["changed"] is False, "commit first, and then run: make outside"


def test_nothing_came_as_a_surprise() -> None:
    outcomes = [outcome for one in _results()["scenarios"] for outcome in one["outcomes"].values()]
    assert all(one["expected"] for one in outcomes)
    assert all(one["why"] for one in outcomes if one["outcome"] != RIGHT)


def test_ours_meets_all_of_them() -> None:
    results = _results()
    number = len(results["scenarios"])
    assert f"Breakbulk's: {number} of {number} as demanded" in tally(results)
