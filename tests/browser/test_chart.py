"""A run's pace: drawn by a script that can be read off, and without one all the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from breakbulk import RunHandle

_INKED = """canvas => canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)"""


def test_the_pace_is_drawn_and_stays_when_the_page_moves_on(paced: RunHandle, page: Page) -> None:
    page.goto(f"/runs/{paced.id}")
    canvas = page.locator("#pace-chart canvas")
    expect(canvas).to_have_count(1)
    assert canvas.evaluate(_INKED)
    expect(page.locator(".chart svg")).to_be_hidden()
    labels = page.locator("#pace-chart .u-legend .u-label")
    assert labels.all_text_contents()[1:] == ["rows/s", "failed attempts"]
    series = json.loads(page.locator("figure.chart").get_attribute("data-series") or "")
    assert (max(series["rate"]), sum(series["failures"])) == (3.0, 4)
    assert 55 <= len(series["at"]) <= 120
    canvas.evaluate("canvas => canvas.dataset.mine = 'the same one'")
    paced.pause()
    expect(page.locator(".headline .status")).to_have_text("pausing", timeout=30_000)
    expect(canvas).to_have_count(1)
    assert canvas.get_attribute("data-mine") == "the same one"
    assert canvas.evaluate(_INKED)
    # What is read off is by the newest figures.
    newest = page.evaluate("JSON.parse(document.querySelector('figure.chart').dataset.series).at")
    assert newest[-1] > series["at"][-1]


@pytest.mark.thorough
def test_without_a_script_it_is_a_picture(paced: RunHandle, browser: Browser, site: str) -> None:
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/runs/{paced.id}")
    expect(page.locator(".chart svg")).to_be_visible()
    expect(page.get_by_role("img", name="Rows a second over time, at most 3")).to_be_visible()
    expect(page.locator(".chart svg .fail")).to_have_count(2)
    expect(page.locator("canvas")).to_have_count(0)
    context.close()
