"""Deadlines and the backlog as an operator meets them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.integration.web.conftest import one
from tests.support.yard import touch

if TYPE_CHECKING:
    from webtest import TestApp

    from tests.support.yard import Yard

_END = "2126-02-01T07:00+01:00"


def test_the_start_form_takes_a_deadline_and_says_what_is_none(
    yard: Yard, operator: TestApp
) -> None:
    yard.job(touch, name="shelves.count")
    page = operator.get("/jobs/shelves.count")
    form = next(form for form in page.forms.values() if "finish_by" in form.fields)
    form["finish_by"] = "soon"
    refused = form.submit("act", value="start", expect_errors=True)
    assert refused.status_int == 422
    assert "'soon' is no time" in one(refused, ".trouble").text
    form = next(form for form in refused.forms.values() if "finish_by" in form.fields)
    assert form["finish_by"].value == "soon"
    assert yard.count("runs") == 0
    form["finish_by"] = _END
    shown = form.submit("act", value="start").follow()
    (run,) = yard.bulk.runs()
    assert run.finish_by == datetime(2126, 2, 1, 6, tzinfo=UTC)
    assert "2126-02-01 06:00:00 UTC" in shown
    assert "as wished" in shown


def test_a_runs_page_says_whether_it_was_in_time(yard: Yard, viewer: TestApp) -> None:
    job = yard.job()
    late = yard.submit(job, finish_by=0)
    assert "late at this pace" in viewer.get(f"/runs/{late.id}")
    yard.settle(late)
    assert "missed" in viewer.get(f"/runs/{late.id}")
    early = yard.submit(job, finish_by=3600)
    yard.settle(early)
    assert "in time" in viewer.get(f"/runs/{early.id}")


def test_the_workers_page_tells_what_is_left_for_each_queue(yard: Yard, viewer: TestApp) -> None:
    assert "No queue is known" in viewer.get("/workers")
    yard.submit(yard.job(queue="night"), finish_by=0)
    section = one(viewer.get("/workers"), "section[aria-labelledby=backlog]").text
    assert "night" in section
    assert "1 run late" in section
