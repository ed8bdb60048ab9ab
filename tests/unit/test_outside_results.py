"""The results of ``make outside``, which the documentation shows, against the scenarios."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from bench.outside import RIGHT, markdown, tally

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "outside.json"
SCENARIOS = ROOT / "tests" / "outside"


def _results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
    return found


def _scenarios() -> set[str]:
    trees = (ast.parse(path.read_text("utf-8")) for path in SCENARIOS.glob("test_*.py"))
    return {
        node.name
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_page_is_made_from_the_file() -> None:
    assert RESULTS.with_suffix(".md").read_text("utf-8") == markdown(_results())


def test_every_scenario_was_run_against_both() -> None:
    results = _results()
    contestants = {one["name"] for one in results["contestants"]}
    assert {one["name"] for one in results["scenarios"]} == _scenarios(), "run: make outside"
    assert all(set(one["outcomes"]) == contestants for one in results["scenarios"])


def test_nothing_came_as_a_surprise() -> None:
    outcomes = [outcome for one in _results()["scenarios"] for outcome in one["outcomes"].values()]
    assert all(one["expected"] for one in outcomes)
    assert all(one["why"] for one in outcomes if one["outcome"] != RIGHT)


def test_ours_meets_all_of_them() -> None:
    results = _results()
    number = len(results["scenarios"])
    assert f"Breakbulk's: {number} of {number} as demanded" in tally(results)
