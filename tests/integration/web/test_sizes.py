"""Chunks that size themselves: started from the form, seen on the page, told by the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakbulk import RunStatus

if TYPE_CHECKING:
    from webtest import TestApp

    from tests.support.yard import Yard


def test_a_run_is_started_from_the_form_and_its_sizes_are_shown(
    yard: Yard, operator: TestApp
) -> None:
    yard.job(name="a.job")
    form = next(one for one in operator.get("/jobs/a.job").forms.values() if "p.tag" in one.fields)
    form["chunk_size"], form["chunk_seconds"] = "auto", "600"
    planned = form.submit("act", value="plan")
    assert "as many rows as take 600 s" in planned
    form = next(one for one in planned.forms.values() if "p.tag" in one.fields)
    assert (form["chunk_size"].value, form["chunk_seconds"].value) == ("auto", "600")
    form.submit("act", value="start")
    (run,) = yard.bulk.runs()
    assert (run.chunk_size, run.chunk_seconds) == (10, 600)
    handle = yard.bulk.run(run.id)
    assert ", now " not in operator.get(f"/runs/{run.id}")
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    page = operator.get(f"/runs/{run.id}")
    assert "as many rows as take 600 s, now 20 rows" in page
    assert "after chunk 1, by pace" in page
    assert "a chunk is to take 600 s" in page
    told = operator.get(f"/api/v1/runs/{run.id}").json
    assert told["run"]["chunk_seconds"] == 600
    assert [(one["rows"], one["cause"]) for one in told["sizes"]] == [(20, "pace")]


def test_what_is_no_size_is_told_beside_what_was_typed(yard: Yard, operator: TestApp) -> None:
    yard.job(name="a.job")
    form = next(one for one in operator.get("/jobs/a.job").forms.values() if "p.tag" in one.fields)
    form["chunk_size"] = "many"
    told = form.submit("act", value="start", status=422)
    assert "no number of rows, and not auto" in told
    form["chunk_size"], form["chunk_seconds"] = "20", "5"
    assert "would count for nothing" in form.submit("act", value="start", status=422)
    assert yard.count("runs") == 0
