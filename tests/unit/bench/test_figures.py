"""What was measured, as a page."""

from __future__ import annotations

from bench.addresses import reads
from bench.figures import Findings, markdown
from breakbulk.web.api.contract import document


def test_a_page_has_medians_spreads_and_what_was_missed() -> None:
    found = Findings("pages", "server time")
    found.add("overview", "ms", [3.0, 1.0, 2.0], limit=50)
    found.add("slow", "ms", [60.0], limit=50)
    found.add("rows", "", [12_345.0])
    found.notes.append("filled in 3 s")
    page = markdown("2 cores", "python -m bench pages", [found])
    assert "2 cores. `python -m bench pages`." in page
    assert "| overview | 2 ms | 1 ms | 3 ms | 50 ms |" in page
    assert "| slow | 60 ms | 60 ms | 60 ms | **missed** 50 ms |" in page
    assert "| rows | 12,345 | 12,345 | 12,345 |  |" in page
    assert "* filled in 3 s" in page


def test_the_api_is_measured_whole() -> None:
    asked = reads(1, 2)
    assert {path for path, known in document()["paths"].items() if "get" in known} <= set(asked)
    assert not [address for address in asked.values() if "{" in address]
