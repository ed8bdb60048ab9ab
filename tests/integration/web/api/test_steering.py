"""Runs that are paused, cancelled and tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.machines import RUNS, post, refused, walked
from tests.support.yard import Boom

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk import RunHandle
    from tests.support.yard import Yard


def test_a_run_is_paused_resumed_and_cancelled(yard: Yard, deployer: TestApp, job: str) -> None:
    run = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    steps = [
        ("pause", {"reason": "the shop is open"}, "paused"),
        ("resume", {"reason": "it is night"}, "running"),
        ("cancel", {"reason": "the rate was wrong", "force": True}, "cancelled"),
    ]
    for verb, body, status in steps:
        assert post(deployer, f"/runs/{run}/{verb}", body).json == {"run": run, "status": status}
    assert deployer.get(f"{RUNS}/{run}").json["run"]["reason"] == "the rate was wrong"
    refused(post(deployer, f"/runs/{run}/resume"), 409, "wrong-state")
    done = walked(deployer, f"{RUNS}/{run}/activity?limit=2")
    assert [one["id"] for one in done] == sorted((one["id"] for one in done), reverse=True)
    assert {one["actor"] for one in done} >= {"deployer"}
    assert {one["verb"]: one["detail"] for one in done if one["actor"] == "deployer"} == {
        "submitted": None,
        "pausing": "the shop is open",
        "resumed": "it is night",
        "cancelling": "the rate was wrong",
        "forced": None,
    }


def test_a_run_is_given_more_lanes_or_fewer(yard: Yard, deployer: TestApp, job: str) -> None:
    run = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    for lanes in (2, None):
        answer = post(deployer, f"/runs/{run}/lanes", {"lanes": lanes})
        assert answer.json == {"run": run, "status": "running"}
        assert yard.bulk.run(run).record().max_lanes == lanes
    for wrong in (0, 10_001, "two"):
        refused(post(deployer, f"/runs/{run}/lanes", {"lanes": wrong}), 422, "invalid-request")
    refused(post(deployer, f"/runs/{run}/lanes", {}), 422, "invalid-request")


def test_a_run_is_given_other_limits(yard: Yard, deployer: TestApp, job: str) -> None:
    start = {"job": job, "limits": {"only": "22:00-06:00", "max_lanes": 3}}
    shown = post(deployer, "/runs", start).json["run"]
    assert (shown["throttle"]["only"], shown["max_lanes"]) == ("22:00-06:00", 3)
    changed = post(deployer, f"/runs/{shown['id']}/limits", {"max_rows_per_second": 500})
    assert changed.json["throttle"] == {**shown["throttle"], "max_rows_per_second": 500}
    yard.crew()
    progress = deployer.get(f"{RUNS}/{shown['id']}").json["progress"]
    assert progress["throttled"]["by"] == "not looked at"
    lifted = post(deployer, f"/runs/{shown['id']}/limits", {"throttle_on": None, "only": None})
    assert lifted.json["throttle"]["only"] is None
    for wrong in ({}, {"only": 5}, {"max_lanes": 1}, {"throttle_on": "SELECT 1"}):
        refused(post(deployer, f"/runs/{shown['id']}/limits", wrong), 422, "invalid-request")
    refused(
        post(deployer, f"/runs/{shown['id']}/limits", {"only": "late"}), 422, "invalid-parameter"
    )


def test_a_verb_needs_no_body_from_a_machine(yard: Yard, deployer: TestApp, job: str) -> None:
    run = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    assert deployer.post(f"{RUNS}/{run}/pause", status=200).json["status"] == "paused"


@pytest.mark.parametrize(
    ("choice", "chunks"),
    [({}, 2), ({"error": "Boom"}, 2), ({"key": "[13]"}, 1), ({"chunk": "2"}, 1)],
)
def test_what_failed_is_tried_again(
    deployer: TestApp, partial: RunHandle, choice: dict[str, str], chunks: int
) -> None:
    answer = post(deployer, f"/runs/{partial.id}/retry", choice)
    assert answer.json == {"run": partial.id, "round": 2, "chunks": chunks, "rows": chunks}


def test_a_retry_says_why(deployer: TestApp, partial: RunHandle) -> None:
    post(deployer, f"/runs/{partial.id}/retry", {"reason": "the service is back"})
    assert [one.detail for one in partial.activity() if one.verb == "retried"] == [
        "the service is back"
    ]
    refused(post(deployer, f"/runs/{partial.id}/pause", {"reason": ""}), 422, "invalid-request")


def test_a_choice_of_nothing_is_refused(deployer: TestApp, partial: RunHandle) -> None:
    answer = post(deployer, f"/runs/{partial.id}/retry", {"error": "Other"})
    assert "with Other" in refused(answer, 409, "wrong-state")["detail"]


def test_a_callback_is_tried_again(yard: Yard, deployer: TestApp) -> None:
    def fail(_run: Any) -> None:
        raise Boom("no")

    handle = yard.run(finished=fail, max_retries=0)
    assert handle.record().callback_failed
    answer = post(deployer, f"/runs/{handle.id}/finish", {"reason": "mail works"})
    assert answer.json == {"run": handle.id, "status": "finishing"}
