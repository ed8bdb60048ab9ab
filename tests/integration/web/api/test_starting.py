"""Jobs, plans, and runs that are started."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import Items
from breakbulk.web.api.contract import ROOT
from tests.support.machines import RUNS, post, refused
from tests.support.yard import Boom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webtest import TestApp

    from tests.support.yard import Yard


def test_a_job_tells_what_its_parameters_are(yard: Yard, looker: TestApp, job: str) -> None:
    found = looker.get(f"{ROOT}/jobs/{job}").json
    assert found["parameters"] == {
        "type": "object",
        "properties": {"tag": {"type": "string", "default": ""}},
        "required": [],
        "additionalProperties": False,
    }
    assert found["summary"] == "A job."
    assert looker.get(f"{ROOT}/jobs").json["items"] == [found]
    refused(looker.get(f"{ROOT}/jobs/none", expect_errors=True), 404, "not-found")


def test_a_plan_writes_nothing(yard: Yard, deployer: TestApp, job: str) -> None:
    planned = post(deployer, "/plans", {"job": job, "parameters": {"tag": "x"}}).json
    assert planned["parameters"] == {"tag": "x"}
    assert planned["last_key"] == "[25]"
    assert yard.count("runs") == 0


def test_a_run_is_started(yard: Yard, deployer: TestApp, job: str) -> None:
    answer = post(deployer, "/runs", {"job": job, "parameters": {"tag": "spring"}})
    assert answer.status_int == 202
    run = yard.bulk.run(answer.json["run"]["id"])
    assert answer.location == f"http://localhost{RUNS}/{run.id}"
    assert answer.json["created"] is True
    record = run.record()
    assert (record.parameters, record.submitted_by) == ({"tag": "spring"}, "deployer")
    yard.settle(run)
    looked = deployer.get(f"{RUNS}/{run.id}").json
    assert looked["run"]["summary"]["rows_done"] == looked["progress"]["rows_done"] == 25


def test_asking_again_with_a_key_starts_nothing(yard: Yard, deployer: TestApp, job: str) -> None:
    body = {"job": job}
    first = post(deployer, "/runs", body, Idempotency_Key="k-1")
    again = post(deployer, "/runs", body, Idempotency_Key="k-1")
    assert (first.status_int, again.status_int) == (202, 202)
    assert first.location == again.location
    assert (first.json["created"], again.json["created"]) == (True, False)
    other = post(deployer, "/runs", {**body, "parameters": {"tag": "x"}}, Idempotency_Key="k-1")
    problem = refused(other, 422, "idempotency-conflict")
    assert problem["run"] == first.json["run"]["id"]
    assert yard.count("runs") == 1


def test_an_iterable_that_ended_early_has_a_run(yard: Yard, deployer: TestApp) -> None:
    def lines() -> Iterator[int]:
        yield 1
        raise Boom("the feed is gone")

    yard.job(lambda _chunk: None, name="a.feed", source=lambda: Items(lines()))
    problem = refused(post(deployer, "/runs", {"job": "a.feed"}), 422, "unreadable-rows")
    assert problem["run"] == 1
    assert "ended early at item 1" in problem["detail"]


def test_a_run_that_goes_on_is_in_the_way(yard: Yard, deployer: TestApp, job: str) -> None:
    first = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    problem = refused(post(deployer, "/runs", {"job": job}), 409, "overlap")
    assert problem["run"] == first
    waits = post(deployer, "/runs", {"job": job, "overlap": "wait"}).json["run"]
    assert (waits["status"], waits["waits_for"]) == ("held", first)
    beside = post(deployer, "/runs", {"job": job, "overlap": "allow", "queue": "fast"}).json["run"]
    assert (beside["status"], beside["queue"]) == ("running", "fast")


def test_a_run_may_start_later(deployer: TestApp, job: str) -> None:
    later = {"job": job, "overlap": "allow"}
    at = post(deployer, "/runs", {**later, "eta": "2126-01-31T22:00:00+01:00"}).json["run"]
    assert at["not_before"] == "2126-01-31T21:00:00+00:00"
    soon = post(deployer, "/runs", {**later, "countdown": 3600}).json["run"]
    waited = datetime.fromisoformat(soon["not_before"]) - datetime.fromisoformat(
        soon["submitted_at"]
    )
    assert waited.total_seconds() == pytest.approx(3600, abs=1)


@pytest.mark.parametrize(
    ("body", "kind", "errors"),
    [
        ({"job": "none"}, "unknown-job", None),
        (
            {"job": "a.job", "parameters": {"tag": 5}},
            "invalid-parameter",
            [("#/parameters/tag", "The parameter 'tag' of a.job takes str, not 5")],
        ),
        (
            {"job": "a.job", "parameters": {"no/pe": 5}},
            "invalid-parameter",
            [("#/parameters/no~1pe", "The job a.job has no parameter 'no/pe'")],
        ),
        (
            {"job": "a.job", "parameters": {"x" * 65: 5}},
            "invalid-parameter",
            [("#/parameters", "The job a.job has no parameter")],
        ),
        ({"parameters": {}}, "invalid-request", [("#/job", "It is missing")]),
        (
            {"job": "a.job", "overlap": "maybe"},
            "invalid-request",
            [("#/overlap", "It must be one of refuse or wait or allow")],
        ),
        (
            {"job": "a.job", "parameters": [1]},
            "invalid-request",
            [("#/parameters", "It must be of the type object")],
        ),
        ({"job": "a.job", "x/y": 1}, "invalid-request", [("#/x~1y", "It has a field that is")]),
        ({"job": "a.job", "x" * 65: 1}, "invalid-request", [("#", "It has a field that is")]),
        ({"job": "a.job", "countdown": -1}, "invalid-request", [("#/countdown", "It must be at")]),
        ({"job": "a.job", "eta": "soon"}, "invalid-request", [("#/eta", "It must")]),
        (
            {"job": "a.job", "eta": "2026-01-31T22:00:00"},
            "invalid-request",
            [("#/eta", "It must")],
        ),
        (
            {"job": "a.job", "eta": "2026-01-31T22:00:00Z", "countdown": 1},
            "invalid-request",
            [("#", "Fields of it exclude each other")],
        ),
        (
            {"job": "a.job", "chunk_seconds": 1},
            "invalid-parameter",
            [],
        ),
        ({"job": ""}, "invalid-request", [("#/job", "It must not be empty")]),
        ([], "invalid-request", [("#", "It must be of the type object")]),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    yard: Yard, deployer: TestApp, job: str, body: Any, kind: str, errors: Any
) -> None:
    answer = deployer.post_json(RUNS, body, expect_errors=True)
    problem = refused(answer, 422, kind)
    told = [(one["pointer"], one["detail"]) for one in problem.get("errors", ())]
    for (place, says), (pointer, detail) in zip(errors or (), told, strict=False):
        assert pointer == place
        assert detail.startswith(says)
    assert bool(told) == bool(errors)
    assert yard.count("runs") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"job": "a.job", "parameters": {"tag": NaN}}',
        b'{"job": "a.job", "parameters": {"tag": "\\ud800"}}',
        b'{"job": "a.job\xff"}',
        b"[" * 60_000,
    ],
)
def test_what_is_no_json_is_refused(yard: Yard, deployer: TestApp, job: str, body: Any) -> None:
    kind = {"Content-Type": "application/json"}
    refused(deployer.post(RUNS, body, kind, expect_errors=True), 400, "unreadable-request")
    assert yard.count("runs") == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "\u00e9"])
def test_a_key_that_is_none_is_refused(deployer: TestApp, job: str, key: str) -> None:
    answer = post(deployer, "/runs", {"job": job}, Idempotency_Key=key)
    problem = refused(answer, 400, "unreadable-request")
    assert problem["errors"][0]["header"] == "Idempotency-Key"


def test_a_run_may_have_a_deadline_and_the_backlog_goes_by_it(
    yard: Yard, deployer: TestApp, looker: TestApp, job: str
) -> None:
    until = "2126-02-01T07:00:00+01:00"
    answer = post(deployer, "/runs", {"job": job, "finish_by": until})
    assert answer.json["run"]["finish_by"] == "2126-02-01T06:00:00+00:00"
    left = looker.get(f"{ROOT}/backlog").json
    (run,) = left["runs"]
    assert (run["run"], run["finish_by"]) == (answer.json["run"]["id"], "2126-02-01T06:00:00+00:00")
    (queue,) = left["queues"]
    assert queue["desired_slots"] == run["desired_slots"] == 1
    for wrong in ("soon", "2126-02-01T07:00:00", 3):
        refused(post(deployer, "/runs", {"job": job, "finish_by": wrong}), 422, "invalid-request")
    no_day = {"job": job, "finish_by": "2126-02-31T07:00:00Z"}
    assert post(deployer, "/runs", no_day).status_int == 422
    assert yard.count("runs") == 1
