"""Figures for Prometheus: read off the ledger when somebody asks, zeros included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from webtest import TestApp

from breakbulk import Breakbulk
from breakbulk.ledger.sql import clock
from breakbulk.metrics import Collector, exposition, make_wsgi_app
from breakbulk.web import Access
from breakbulk.web import make_wsgi_app as make_dashboard

if TYPE_CHECKING:
    from tests.support.yard import Yard


def figures(bulk: Breakbulk) -> dict[str, dict[tuple[str, ...], float]]:
    """Each metric, its values by their labels in the order of the alphabet."""
    return {
        family.name: {tuple(one.labels.values()): one.value for one in family.samples}
        for family in text_string_to_metric_families(exposition(bulk).decode())
    }


def test_zeros_are_told_of_each_job(yard: Yard) -> None:
    yard.job(queue="night")
    found = figures(yard.bulk)
    assert found["breakbulk_ledger_up"] == {(): 1.0}
    assert found["breakbulk_backlog_seconds"] == {("Job0", "night"): 0.0}
    assert found["breakbulk_desired_slots"] == {("Job0", "night"): 0.0}
    assert set(found["breakbulk_runs"].values()) == {0.0}
    assert len(found["breakbulk_runs"]) == 7
    assert found["breakbulk_slots"] == {("night",): 0.0}
    assert found["breakbulk_workers"] == {("live",): 0, ("draining",): 0, ("silent",): 0}
    assert found["breakbulk_leader"] == {(): 0.0}


def test_runs_are_told_together_and_never_by_number(yard: Yard) -> None:
    job = yard.job(chunk_size=1)
    yard.crew(slots=3)
    few = {("Job0", "celery"): len(yard.versions()) * 2.0}
    for _ in range(2):
        yard.submit(job, overlap="allow", finish_by=0)
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(schema.runs.update().values(rows_estimate=len(yard.versions())))
    found = figures(yard.bulk)
    assert found["breakbulk_runnable_chunks"] == few
    assert found["breakbulk_backlog_seconds"] == few
    assert found["breakbulk_late_runs"] == {("Job0", "celery"): 2.0}
    assert found["breakbulk_runs"]["Job0", "celery", "running"] == 2.0
    assert found["breakbulk_slots"] == {("celery",): 3.0}
    assert found["breakbulk_workers"]["live",] == 1.0
    assert found["breakbulk_leader"] == {(): 1.0}


def test_a_throttled_run_without_any_worker_is_what_the_alert_looks_for(yard: Yard) -> None:
    """BreakbulkNoWorker: it wants a slot to be looked at, and begins with nothing."""
    yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(runs.update().values(throttled_to=0))
    found = figures(yard.bulk)
    assert found["breakbulk_desired_slots"] == {("Job0", "celery"): 1.0}
    assert found["breakbulk_runnable_chunks"] == {("Job0", "celery"): 0.0}
    assert found["breakbulk_inflight_chunks"] == {("Job0", "celery"): 0.0}
    assert found["breakbulk_slots"] == {("celery",): 0.0}
    with yard.transaction() as connection:
        connection.execute(runs.update().values(status="paused"))
    assert figures(yard.bulk)["breakbulk_desired_slots"] == {("Job0", "celery"): 0.0}


def test_a_run_that_needs_more_slots_than_are_there_is_what_the_alert_looks_for(yard: Yard) -> None:
    """BreakbulkBacklogGrows: the one slot is busy, and what is not carved yet waits for others."""
    handle = yard.submit(yard.job())
    lane = yard.lane(handle, crew=yard.crew(slots=1))
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        values = {"rows_estimate": 100_000, "submitted_at": clock(-7_200.0)}
        connection.execute(runs.update().values(values))
    found = figures(yard.bulk)
    assert found["breakbulk_backlog_seconds"] == {("Job0", "celery"): 10_000.0}
    assert found["breakbulk_desired_slots"] == {("Job0", "celery"): 34.0}
    assert found["breakbulk_lanes"] == {("Job0", "celery"): 1.0}
    assert found["breakbulk_slots"] == {("celery",): 1.0}
    waits = found["breakbulk_oldest_waiting_seconds"]["Job0", "celery"]
    assert 7_200 <= waits < 7_260
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)


def test_a_job_whose_code_is_gone_is_told_as_long_as_it_runs(yard: Yard) -> None:
    yard.submit(yard.job())
    other = Breakbulk(yard.engine)
    assert list(figures(other)["breakbulk_lanes"]) == [("Job0", "celery")]


@pytest.mark.parametrize("url", ["postgresql+psycopg://nobody@127.0.0.1:1/none", "sqlite://"])
def test_a_ledger_that_does_not_answer_is_a_figure(url: str) -> None:
    assert figures(Breakbulk(url)) == {"breakbulk_ledger_up": {(): 0.0}}


def test_a_registry_of_ones_own_takes_it_without_asking(yard: Yard) -> None:
    registry = CollectorRegistry()
    registry.register(Collector(Breakbulk("postgresql+psycopg://nobody@127.0.0.1:1/none")))
    assert registry.get_sample_value("breakbulk_ledger_up") == 0.0


def test_alone_it_answers_at_one_address(yard: Yard) -> None:
    app: Any = TestApp(make_wsgi_app(yard.bulk))
    answer = app.get("/metrics")
    assert answer.content_type == "text/plain"
    assert "breakbulk_ledger_up 1.0" in answer.text
    assert app.head("/metrics").body == b""
    assert app.get("/runs", status=404)
    assert app.post("/metrics", status=405).headers["Allow"] == "GET"


def test_the_dashboards_are_for_whoever_may_look(yard: Yard) -> None:
    app: Any = TestApp(make_dashboard(yard.bulk, access=lambda _environ: None))
    assert app.get("/metrics", expect_errors=True).status_int in {401, 403}
    token = yard.bulk.tokens.create("prometheus").text
    headers = {"Authorization": f"Bearer {token}"}
    assert "breakbulk_ledger_up 1.0" in app.get("/metrics", headers=headers).text
    wrong = {"Authorization": f"Bearer {token}x"}
    assert app.get("/metrics", headers=wrong, expect_errors=True).status_int in {401, 403}
    assert app.get("/runs", headers=headers, expect_errors=True).status_int in {401, 403}
    seen: Any = TestApp(make_dashboard(yard.bulk, access=lambda _environ: Access("ana")))
    assert seen.get("/metrics").content_type == "text/plain"
