"""The limits on which a run holds back, as they are typed into the dashboard's forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webtest import TestApp

    from tests.support.yard import Yard


def test_a_run_gets_other_limits(yard: Yard, operator: TestApp, viewer: TestApp) -> None:
    going = yard.submit(yard.job(throttle_on="SELECT 'not now'", max_rows_per_second=250.5))
    yard.crew()
    page = operator.get(f"/runs/{going.id}")
    assert "Throttled: what it holds back on has not been looked at yet." in page.text
    assert "at most 250.5 rows/s" in viewer.get(f"/runs/{going.id}").text
    form = next(form for form in page.forms.values() if form.action.endswith("/limits"))
    assert form["limit.max_rows_per_second"].value == "250.5"
    form["limit.max_rows_per_second"] = ""
    form["limit.only"] = "22:00-06:00"
    form["limit.throttle_on"] = True
    form.submit().follow()
    assert going.record().throttle.words() == ["only 22:00-06:00"]
    assert [did.actor for did in going.activity() if did.verb == "limits"] == ["ana"]
    form["limit.only"] = "late"
    assert "hours as in" in form.submit(expect_errors=True).text
    assert not viewer.get(f"/runs/{going.id}").html.select("form.limits")


def test_a_run_is_started_with_other_limits(yard: Yard, operator: TestApp) -> None:
    job = yard.job(only="22:00-06:00").__breakbulk_job__.name
    form = next(
        form for form in operator.get(f"/jobs/{job}").forms.values() if "limit.only" in form.fields
    )
    assert form["limit.only"].value == "22:00-06:00"
    form["limit.max_rows_per_second"] = "many"
    again = form.submit("act", value="start", status=422)
    assert "Rows a second at most: 'many' is no number." in again.text.replace("&#39;", "'")
    form["limit.max_rows_per_second"] = "500"
    form["limit.only"] = ""
    form.submit("act", value="start", status=303)
    assert yard.bulk.runs()[0].throttle.words() == ["at most 500 rows/s"]
