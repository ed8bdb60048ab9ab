"""What was measured, as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyramid.request import Request
from pyramid.urldispatch import RoutesMapper

from bench import page
from bench.addresses import pages, reads
from bench.figures import Figure, Findings
from breakbulk.web.api.contract import document
from breakbulk.web.application import _ROUTES

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
    found.add("poll", "ms", [4.0, 4.0, 6.0], limit=5, each=True)
    found.add("steady", "ms", [4.0, 4.0, 5.0], limit=5, each=True)
    found.add("rows", "", [12_345.0])
    found.ratios("ours / theirs", [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], limit=1.5, at_least=True)
    found.notes.append("filled in 3 s")
    text = page.markdown(_results(found), "bench")
    assert "`python -m bench pages`" in text
    assert "| overview | 2 ms | 1 ms | 3 ms | 3 | median at most 50 ms |" in text
    assert "| slow | 60 ms | 60 ms | 60 ms | once | **missed** median at most 50 ms |" in text
    assert "| poll | 4 ms | 4 ms | 6 ms | 3 | **missed** each at most 5 ms |" in text
    assert "| steady | 4 ms | 4 ms | 5 ms | 3 | each at most 5 ms |" in text
    assert "| rows | 12,345 | 12,345 | 12,345 | once |  |" in text
    assert "| ours / theirs | 2 x [1, 3] | 1 x | 3 x | 3 | median at least 1.5 x |" in text
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


def test_each_value_is_judged_where_the_target_says_so() -> None:
    values = [1.0, 2.0, 6.0]
    assert Figure("poll", "ms", values, limit=5).met is True
    assert Figure("poll", "ms", values, limit=5, each=True).met is False
    assert Figure("rate", "/s", values, limit=2, at_least=True).met is True
    assert Figure("rate", "/s", values, limit=2, at_least=True, each=True).met is False
    assert Figure("poll", "ms", values, each=True).met is None
    assert "each at most 5: MISSED" in str(Figure("poll", "ms", values, limit=5, each=True))


def test_pages_are_measured_whole() -> None:
    """A page that somebody adds has to be put there, unless it only changes something."""
    mapper = RoutesMapper()
    for name, pattern in _ROUTES.items():
        mapper.connect(name, pattern)
    found = [mapper(Request.blank(path))["route"] for path in pages(1, 2).values()]
    assert None not in found
    changing = {"verb", "endpoint_verb", "replay", "preferences", "login"}
    assert {route.name for route in found} == set(_ROUTES) - changing


def test_the_api_is_measured_whole() -> None:
    asked = reads(1, 2)
    assert {path for path, known in document()["paths"].items() if "get" in known} <= set(asked)
    assert not [address for address in asked.values() if "{" in address]
