"""What is looked at again and again: pages that refresh, choices, a run and its chunks at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.runner.test_rescue import held
from tests.integration.web.conftest import one
from tests.integration.web.test_security import READING, path_of
from tests.support.yard import failing

if TYPE_CHECKING:
    from webtest import TestApp

    from tests.support.yard import Yard

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_choices_are_kept(viewer: TestApp) -> None:
    page = viewer.get("/runs?status=failed")
    form = page.forms[0]
    form["theme"], form["refresh"] = "dark", "0"
    page = form.submit().follow()
    assert page.request.path_qs == "/runs?status=failed"
    assert one(page, "html")["data-theme"] == "dark"
    assert not viewer.get("/").html.select("[hx-trigger]")


def test_every_page_that_looks_again_is_304_where_nothing_is_new(
    yard: Yard, viewer: TestApp
) -> None:
    yard.bulk.webhooks.add("https://1.1.1.1/in", events=["run.submitted"])
    going = yard.submit(yard.job(name="a.job"))
    held(yard, going, yard.lane(going))
    again = set()
    for route, pattern in READING.items():
        page = viewer.get(path := path_of(pattern, going))
        if page.content_type != "text/html" or not page.html.select("[hx-get]"):
            continue
        again.add(route)
        # What shows a rate is drawn anew every few seconds, which may be just now.
        for _ in range(3):
            asks = {"HX-Request": "true"}
            asks["HX-PTag"] = viewer.get(path, headers=asks).headers["HX-PTag"]
            if (answer := viewer.get(path, headers=asks, status="*")).status_int == 304:
                break
        assert answer.status_int == 304, path
        page = viewer.get(path)
        assert one(page, "[hx-get]")["data-tag"] == page.headers["HX-PTag"], path
    assert again == {"overview", "run", "chunk", "workers"}


@pytest.mark.parametrize("back", ["//evil.example/", "https://evil.example/", "/\\evil.example"])
def test_nobody_is_sent_elsewhere(viewer: TestApp, back: str) -> None:
    form = viewer.get("/").forms[0]
    form["back"].force_value(back)
    assert form.submit().location == "http://localhost/"


def test_a_chunk_tells_all_its_attempts(yard: Yard, viewer: TestApp) -> None:
    handle = yard.run(failing(2), max_retries=3)
    page = viewer.get(f"/runs/{handle.id}/chunks/2")
    told = [item.get_text(" ") for item in page.html.select(".attempts > li")]
    assert len(told) == 3
    for said, words in zip(told, ("1   failed", "2   failed", "3   succeeded"), strict=True):
        assert f"Attempt {words}" in said
        assert f"/{yard.first_crew.process.pid}" in said
    assert ["Boom" in said and "Traceback" in said for said in told] == [True, True, False]
    assert len(page.html.select(".timeline .t-failed")) == 2
    assert len(page.html.select(".timeline .t-succeeded")) == 1
    assert not page.html.select("[style]")
    assert not page.html.select("[hx-trigger]"), "it is done"


def test_a_chunk_in_hand_is_looked_at_again(yard: Yard, viewer: TestApp) -> None:
    going = yard.submit(yard.job())
    lane = yard.lane(going)
    held(yard, going, lane)
    url = f"/runs/{going.id}/chunks/1"
    page = viewer.get(url)
    assert "under way" in page
    assert f"here/{lane.pid}" in page
    assert one(page, "#chunk").get("hx-trigger") == "every 2s"
    assert "its lane is at another chunk still" in viewer.get(f"/runs/{going.id}/chunks/2")
    asks = {"HX-Request": "true"}
    first = viewer.get(url, headers=asks)
    assert "<html" not in first.text
    # Within the five seconds after which a rate is drawn anew.
    again = viewer.get(url, headers={**asks, "HX-PTag": first.headers["HX-PTag"]}, status="*")
    assert again.status_int in {200, 304}


def test_a_run_says_where_its_lanes_are(yard: Yard, viewer: TestApp) -> None:
    going = yard.submit(yard.job())
    lane = yard.lane(going)
    held(yard, going, lane)
    page = viewer.get(f"/runs/{going.id}")
    row = one(page, "[aria-labelledby=lanes] tbody tr").get_text(" ")
    assert "here" in row
    assert str(lane.pid) in row
    assert one(page, "[aria-labelledby=lanes] [data-label='In hand'] a").text == "1"
    assert "at chunk 1" in viewer.get(f"/runs/{going.id}/report")
    going.cancel(force=True)
    ended = yard.run()
    assert not viewer.get(f"/runs/{ended.id}").html.select("[aria-labelledby=lanes]")
