"""What goes wrong is told as problem details."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk.errors import LedgerUnreachable
from breakbulk.web.api.contract import ROOT, document
from tests.support.machines import RUNS, post, refused

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk import RunHandle
    from tests.support.yard import Yard


NOWHERE = (
    *("", "/", "/nothing", "/../v2/runs", "/runs/", "/runs/1/nothing", "/runs/99/chunks"),
    *("/runs/x", "/runs/0", "/runs/-1", "/runs/99", "/runs/%00", "/runs/%D9%A1"),
    *("/runs/99999999999999999999", "/runs/1/chunks/x", "/runs/1/chunks/9.2"),
    "/runs/1/chunks/9",
)
SENSELESS = (
    *("limit=0", "limit=101", "limit=x", "limit=", "status=nothing", "status=%ff"),
    *("cursor=", "cursor=!", "cursor=WzFd!", "cursor=" + "W" * 200, "cursor=" + "W" * 201),
    # [], ["a"], {"a":1}, [-1], [true], and a number that is too large
    *("cursor=W10", "cursor=WyJhIl0", "cursor=eyJhIjoxfQ", "cursor=Wy0xXQ", "cursor=W3RydWVd"),
    "cursor=WzEwMDAwMDAwMDAwMDAwMDAwMDAwXQ",
    # Paths that no split gives, and what sorts behind all of them.
    *("cursor=WzIsIjBhIl0", "cursor=WzIsImMiXQ", "cursor=WzIsIn4iXQ"),
)


def test_what_is_not_there(looker: TestApp, partial: RunHandle) -> None:
    for path in NOWHERE:
        answer = looker.get(f"{ROOT}{path}", expect_errors=True)
        problem = refused(answer, 404, "not-found")
        assert "Traceback" not in problem["detail"], path
        assert problem["instance"].startswith("/api/v1"), path


@pytest.mark.parametrize("path", ["/runs", "/runs/1/chunks"])
def test_a_query_that_makes_no_sense_is_refused(
    looker: TestApp, partial: RunHandle, path: str
) -> None:
    for query in SENSELESS:
        answer = looker.get(f"{ROOT}{path}?{query}", expect_errors=True)
        refused(answer, 400, "unreadable-request")


@pytest.mark.parametrize("path", ["?statu=failed", "?limit=1&page=2", "/1?x=1", "/1/chunks?from=2"])
def test_a_query_that_would_be_ignored_is_refused(
    looker: TestApp, partial: RunHandle, path: str
) -> None:
    problem = refused(looker.get(f"{RUNS}{path}", expect_errors=True), 422, "invalid-request")
    (one,) = problem["errors"]
    assert one["parameter"] in path
    assert one["detail"].startswith("It is not known here; there are: ")


def test_a_token_that_may_only_look_is_told_so(looker: TestApp, partial: RunHandle) -> None:
    problem = refused(post(looker, f"/runs/{partial.id}/retry"), 403, "forbidden")
    assert problem["detail"] == "This token may only look here, not steer."


def test_methods_that_are_not_for_an_address(looker: TestApp, partial: RunHandle) -> None:
    for path, item in document()["paths"].items():
        url = ROOT + path.format(run=partial.id, job="x", chunk="1")
        wanted = {"get": "GET, HEAD", "post": "POST"}
        allowed = ", ".join(wanted[method] for method in wanted if method in item)
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = looker.request(url, method=method, expect_errors=True)
            refused(answer, 405, "method-not-allowed")
            assert answer.headers["Allow"] == allowed


def test_whoever_takes_no_json_gets_none(looker: TestApp, partial: RunHandle) -> None:
    for accept, status in (
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("*/*", 200),
        ("application/*", 200),
        ("application/problem+json", 200),
    ):
        answer = looker.get(RUNS, headers={"Accept": accept}, expect_errors=True)
        assert answer.status_int == status, accept
    refused(looker.get(RUNS, headers={"Accept": "text/html"}, status=406), 406, "not-acceptable")


def test_what_is_too_large_is_not_read(yard: Yard, deployer: TestApp, job: str) -> None:
    body = {"job": job, "parameters": {"tag": "x" * 65_536}}
    refused(post(deployer, "/runs", body), 413, "request-too-large")
    body["parameters"] = {"tag": "x" * 60_000}
    assert post(deployer, "/runs", body).status_int == 202


def test_what_is_too_large_is_not_read_in_pieces_either(deployer: TestApp, job: str) -> None:
    body = json.dumps({"job": job, "parameters": {"tag": "x" * 65_536}}).encode()
    environ: Any = {"wsgi.input_terminated": True}
    request = deployer.RequestClass.blank(RUNS, method="POST", environ=environ, body=body)
    del request.headers["Content-Length"]
    request.headers["Content-Type"] = "application/json"
    authorization: Any = deployer.authorization
    request.authorization = authorization
    refused(deployer.do_request(request, expect_errors=True), 413, "request-too-large")


def test_a_database_that_does_not_answer(
    looker: TestApp, partial: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise LedgerUnreachable("The ledger's database does not answer (gone).")

    for place in ("breakbulk.app.tokens.Tokens.check", "breakbulk.app.RunHandle.tag"):
        with monkeypatch.context() as patched:
            patched.setattr(place, away)
            answer = looker.get(f"{RUNS}/{partial.id}", expect_errors=True)
        refused(answer, 503, "database-unreachable")
        assert answer.headers["Retry-After"] == "5"


def test_a_mistake_of_ours_tells_nothing(
    looker: TestApp, partial: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("hunter2")

    monkeypatch.setattr("breakbulk.app.Breakbulk.progress_of", broken)
    answer = looker.get(f"{RUNS}/{partial.id}", expect_errors=True)
    refused(answer, 500, "internal-error")
    assert "hunter2" not in answer.text


def test_an_answer_that_is_not_what_the_document_says_is_not_given(
    looker: TestApp, partial: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "breakbulk.domain.progress.Progress.as_dict", lambda _self: {"secret": "hunter2"}
    )
    answer = looker.get(f"{RUNS}/{partial.id}", expect_errors=True)
    refused(answer, 500, "internal-error")
    assert "hunter2" not in answer.text
