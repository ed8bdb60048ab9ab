"""What was measured, as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import page
from bench.addresses import reads
from bench.figures import Findings
from breakbulk.web.api.contract import document

_RESULTS = Path(__file__).parents[3] / "bench" / "results" / "bench.json"


def _results(found: Findings) -> dict[str, Any]:
    machine = {"cores": 2, "processor": "one", "memory": "1 GB", "system": "L", "load_before": 0.1}
    return {
        "date": "2026-11-26",
        "command": "python -m bench pages",
        "minutes": 3,
        "seed": 1,
        "machine": machine,
        "versions": {"Python": "3.11"},
        "findings": [found.as_dict()],
    }


def test_a_page_has_medians_spreads_and_what_was_missed() -> None:
    found = Findings("pages", "server time")
    found.add("overview", "ms", [3.0, 1.0, 2.0], limit=50)
    found.add("slow", "ms", [60.0], limit=50)
    found.add("rows", "", [12_345.0])
    found.ratios("ours / theirs", [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], limit=1.5, at_least=True)
    found.notes.append("filled in 3 s")
    text = page.markdown(_results(found), "bench")
    assert "`python -m bench pages`" in text
    assert "| overview | 2 ms | 1 ms | 3 ms | 3 | at most 50 ms |" in text
    assert "| slow | 60 ms | 60 ms | 60 ms | 1 | **missed** at most 50 ms |" in text
    assert "| rows | 12,345 | 12,345 | 12,345 | 1 |  |" in text
    assert "| ours / theirs | 2 x [1, 3] | 1 x | 3 x | 3 | at least 1.5 x |" in text
    assert "* filled in 3 s" in text


def test_pictures_come_from_what_json_keeps() -> None:
    found = Findings("noop", "rates")
    found.bars("seconds", title="Seconds", unit="s", rows=[("one", [1.0])])
    found.lines("rate", title="Rate", x="lanes", y="/s", series={"a": [(1.0, 2.0)]}, doubling=True)
    results = json.loads(json.dumps(_results(found)))
    drawn = page.pictures(results, "bench")
    assert set(drawn) == {"bench-noop-seconds.svg", "bench-noop-rate.svg"}
    text = page.markdown(results, "bench")
    assert all(f"({name})" in text for name in drawn)


@pytest.mark.skipif(not _RESULTS.exists(), reason="nothing has been measured yet")
def test_the_page_says_what_was_measured() -> None:
    results = json.loads(_RESULTS.read_text("utf-8"))
    assert _RESULTS.with_suffix(".md").read_text("utf-8") == page.markdown(results, "bench")
    for name, picture in page.pictures(results, "bench").items():
        assert _RESULTS.with_name(name).read_text("utf-8") == picture


def test_the_api_is_measured_whole() -> None:
    asked = reads(1, 2)
    assert {path for path, known in document()["paths"].items() if "get" in known} <= set(asked)
    assert not [address for address in asked.values() if "{" in address]
