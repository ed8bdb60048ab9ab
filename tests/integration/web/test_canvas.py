"""Runs of a canvas as operators see them: by the names of its tasks, and what is promised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from breakbulk.canvas import chord
from breakbulk.errors import CanvasError
from tests.integration.canvas.conftest import Team

if TYPE_CHECKING:
    from webtest import TestApp, TestResponse

    from breakbulk.canvas import CanvasResult
    from tests.support.yard import Yard


@pytest.fixture
def handle(yard: Yard) -> CanvasResult:
    """A chord that has ended, one part of it badly."""
    team = Team(yard)
    team.broken = {2}
    parts = [team.add.s(n, 777) for n in (1, 2)]
    made = chord(parts, team.tell.s("secret words"), on_failure="isolate").apply_async()
    team.settle(made)
    return made


def _looked(page: TestResponse) -> list[str]:
    """The words of other kinds of runs that a page has for people, with what stands around them."""
    main = page.html.select_one("main") or page.html
    said = main.get_text(" ").replace("current_chunk()", "")
    return re.findall(r".{0,30}\b(?:[Cc]hunk|[Rr]ow|[Cc]allback)s?\b.{0,30}", said)


def test_the_dashboard(viewer: TestApp, handle: CanvasResult) -> None:
    page = viewer.get(f"/runs/{handle.id}")
    assert "At least once: a task manages its own transaction" in page
    for shown in ("celery.canvas", "team.add", "team.tell", "ValueError"):
        assert shown in page
    assert "secret words" not in page
    assert _looked(page) == []
    for path in ("chunks", "chunks/2", "failures", "report"):
        assert _looked(viewer.get(f"/runs/{handle.id}/{path}")) == []
    assert "team.add" in viewer.get("/runs")
    report = viewer.get(f"/runs/{handle.id}/report")
    assert "at least once: a task manages" in report
    assert "secret words" not in report
    assert "no jobs" in viewer.get("/jobs"), "it is none that anybody has declared"


@pytest.mark.parametrize("verb", ["submit", "plan", "signature"])
def test_it_is_started_by_applying_it(handle: CanvasResult, verb: str) -> None:
    job = handle.bulk.jobs.get("celery.canvas").cls()
    with pytest.raises(CanvasError, match="started by applying it"):
        getattr(handle.bulk, verb)(job)


def test_its_page_has_no_form_to_start_it(operator: TestApp, handle: CanvasResult) -> None:
    """All its runs lead there."""
    page = operator.get(f"/runs/{handle.id}").click("celery.canvas", index=0)
    assert "It is started by applying a canvas" in page
    assert page.html.select("form.start") == []
    assert f"#{handle.id}" in page


@pytest.mark.parametrize("what", ["runs", "plans"])
def test_the_api_says_who_asks_for_what_cannot_be(operator: TestApp, what: str) -> None:
    answer = operator.post_json(f"/api/v1/{what}", {"job": "celery.canvas"}, status=422)
    assert answer.json["type"].endswith(":unknown-job")
    assert "started by applying it" in answer.json["detail"]
