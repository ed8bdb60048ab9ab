"""What the API answers: runs that are started, watched and steered, page by page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from sqlalchemy import event, text

from breakbulk import Chunk, RunStatus
from breakbulk.errors import LedgerUnreachable
from breakbulk.web.api.contract import ROOT, document
from tests.support import plans
from tests.support.yard import Boom, Goods, statements, tell, touch, wipe

if TYPE_CHECKING:
    from webtest import TestApp, TestResponse

    from breakbulk import RunHandle
    from tests.support.yard import Yard

_RUNS = f"{ROOT}/runs"


def bad(chunk: Chunk[Goods]) -> None:
    """A process that fails for two rows."""
    for row in chunk:
        if row.id in {3, 13}:
            raise Boom(f"row {row.id}")
        row.version += 1


@pytest.fixture
def partial(yard: Yard) -> RunHandle:
    """A run with two rows in quarantine."""
    handle = yard.run(bad, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    return handle


@pytest.fixture
def job(yard: Yard) -> str:
    """The name of a job that can be started."""
    yard.job(touch, name="a.job")
    return "a.job"


def refused(answer: TestResponse, status: int, kind: str) -> dict[str, Any]:
    """The problem that an answer tells of."""
    assert answer.status_int == status, answer.text
    assert answer.content_type == "application/problem+json"
    problem: dict[str, Any] = answer.json
    assert problem["type"] == f"urn:breakbulk:problem:{kind}"
    assert problem["status"] == status
    return problem


def post(app: TestApp, path: str, body: Any = None, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.post_json(f"{ROOT}{path}", body or {}, headers=named, expect_errors=True)


def walked(app: TestApp, path: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items, following = [], path
    while following:
        page = app.get(following, status=200)
        items += page.json["items"]
        following = page.json["next"]
        link = page.headers.get("Link")
        assert link == (None if following is None else f'<{following}>; rel="next"')
        assert len(items) < 1_000, "it never ends"
    return items


# Jobs


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


# Starting


def test_a_run_is_started(yard: Yard, deployer: TestApp, job: str) -> None:
    answer = post(deployer, "/runs", {"job": job, "parameters": {"tag": "spring"}})
    assert answer.status_int == 202
    run = yard.bulk.run(answer.json["run"]["id"])
    assert answer.location == f"http://localhost{_RUNS}/{run.id}"
    assert answer.json["created"] is True
    record = run.record()
    assert (record.parameters, record.submitted_by) == ({"tag": "spring"}, "deployer")
    yard.settle(run)
    looked = deployer.get(f"{_RUNS}/{run.id}").json
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


def test_a_run_that_goes_on_is_in_the_way(yard: Yard, deployer: TestApp, job: str) -> None:
    first = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    problem = refused(post(deployer, "/runs", {"job": job}), 409, "overlap")
    assert problem["run"] == first
    waits = post(deployer, "/runs", {"job": job, "overlap": "wait"}).json["run"]
    assert (waits["status"], waits["waits_for"]) == ("held", first)
    beside = post(deployer, "/runs", {"job": job, "overlap": "allow", "queue": "fast"}).json["run"]
    assert (beside["status"], beside["queue"]) == ("running", "fast")


@pytest.mark.parametrize(
    ("body", "kind", "errors"),
    [
        ({"job": "none"}, "unknown-job", None),
        ({"job": "a.job", "parameters": {"tag": 5}}, "invalid-parameter", None),
        ({"job": "a.job", "parameters": {"nope": 5}}, "invalid-parameter", None),
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
        ({"job": "a.job", "x/y": 1}, "invalid-request", [("#", "It has a field that is not")]),
        ({"job": ""}, "invalid-request", [("#/job", "It must not be empty")]),
        ([], "invalid-request", [("#", "It must be of the type object")]),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    yard: Yard, deployer: TestApp, job: str, body: Any, kind: str, errors: Any
) -> None:
    answer = deployer.post_json(_RUNS, body, expect_errors=True)
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
    refused(deployer.post(_RUNS, body, kind, expect_errors=True), 400, "unreadable-request")
    assert yard.count("runs") == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "\u00e9"])
def test_a_key_that_is_none_is_refused(deployer: TestApp, job: str, key: str) -> None:
    answer = post(deployer, "/runs", {"job": job}, Idempotency_Key=key)
    problem = refused(answer, 400, "unreadable-request")
    assert problem["errors"][0]["header"] == "Idempotency-Key"


# Steering


def test_a_run_is_paused_resumed_and_cancelled(yard: Yard, deployer: TestApp, job: str) -> None:
    run = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    steps = [
        ("pause", {}, "paused"),
        ("resume", {}, "running"),
        ("cancel", {"reason": "the rate was wrong", "force": True}, "cancelled"),
    ]
    for verb, body, status in steps:
        assert post(deployer, f"/runs/{run}/{verb}", body).json == {"run": run, "status": status}
    assert deployer.get(f"{_RUNS}/{run}").json["run"]["reason"] == "the rate was wrong"
    refused(post(deployer, f"/runs/{run}/resume"), 409, "wrong-state")
    done = walked(deployer, f"{_RUNS}/{run}/activity?limit=2")
    assert [one["id"] for one in done] == sorted((one["id"] for one in done), reverse=True)
    assert {one["actor"] for one in done} >= {"deployer"}


def test_a_run_is_given_more_lanes_or_fewer(yard: Yard, deployer: TestApp, job: str) -> None:
    run = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    for lanes in (2, None):
        answer = post(deployer, f"/runs/{run}/lanes", {"lanes": lanes})
        assert answer.json == {"run": run, "status": "running"}
        assert yard.bulk.run(run).record().max_lanes == lanes
    for wrong in (0, 10_001, "two"):
        refused(post(deployer, f"/runs/{run}/lanes", {"lanes": wrong}), 422, "invalid-request")
    refused(post(deployer, f"/runs/{run}/lanes", {}), 422, "invalid-request")


def test_a_verb_needs_no_body_from_a_machine(yard: Yard, deployer: TestApp, job: str) -> None:
    run = post(deployer, "/runs", {"job": job}).json["run"]["id"]
    assert deployer.post(f"{_RUNS}/{run}/pause", status=200).json["status"] == "paused"


@pytest.mark.parametrize(
    ("choice", "chunks"),
    [({}, 2), ({"error": "Boom"}, 2), ({"key": "[13]"}, 1), ({"chunk": "2"}, 1)],
)
def test_what_failed_is_tried_again(
    deployer: TestApp, partial: RunHandle, choice: dict[str, str], chunks: int
) -> None:
    answer = post(deployer, f"/runs/{partial.id}/retry", choice)
    assert answer.json == {"run": partial.id, "round": 2, "chunks": chunks, "rows": chunks}


def test_a_choice_of_nothing_is_refused(deployer: TestApp, partial: RunHandle) -> None:
    answer = post(deployer, f"/runs/{partial.id}/retry", {"error": "Other"})
    assert "with Other" in refused(answer, 409, "wrong-state")["detail"]


def test_a_callback_is_tried_again(yard: Yard, deployer: TestApp) -> None:
    def fail(_run: Any) -> None:
        raise Boom("no")

    handle = yard.run(finished=fail, max_retries=0)
    assert handle.record().callback_failed
    answer = post(deployer, f"/runs/{handle.id}/finish")
    assert answer.json == {"run": handle.id, "status": "finishing"}


# Looking


def test_lists_go_on_page_by_page(yard: Yard, looker: TestApp, partial: RunHandle) -> None:
    for _ in range(3):
        yard.run(finished=tell)
    url = f"{_RUNS}/{partial.id}"
    lists: dict[str, list[Any]] = {
        f"{_RUNS}?": [run.id for run in yard.bulk.runs()],
        f"{_RUNS}?status=partial&status=failed&": [partial.id],
        f"{_RUNS}?job=nobody&": [],
        f"{_RUNS}?job={quote(partial.record().job)}&": [partial.id],
        f"{url}/chunks?": [chunk.name for chunk in partial.chunks()],
        f"{url}/chunks?status=failed&": [row.chunk for row in partial.errors()],
        f"{url}/failures?": [one.id for one in partial.failures(100)],
        f"{url}/failures?error=nobody&": [],
        f"{url}/quarantine?": [row.id for row in partial.errors()],
        f"{url}/activity?": [one.id for one in partial.activity()],
    }
    for path, expected in lists.items():
        name = "name" if "chunks" in path else "id"
        for limit in (1, 2, 100):
            found = walked(looker, f"{path}limit={limit}")
            assert [one[name] for one in found] == expected, path


def test_a_chunk_is_shown_with_its_relatives_and_failures(
    looker: TestApp, partial: RunHandle
) -> None:
    row = partial.errors()[0]
    found = looker.get(f"{_RUNS}/{partial.id}/chunks/{row.chunk}").json
    assert found["chunk"]["name"] == row.chunk
    assert row.chunk not in {part["name"] for part in found["parts"]}
    assert str(row.number) in {part["name"] for part in found["parts"]}
    assert {one["chunk"] for one in found["failures"]} == {row.chunk}
    assert "Traceback" in found["failures"][0]["traceback"]


def test_failures_are_grouped(looker: TestApp, partial: RunHandle) -> None:
    (group,) = looker.get(f"{_RUNS}/{partial.id}/failure-groups").json["items"]
    assert (group["error"], group["chunks"]) == ("tests.support.yard.Boom", 2)


def test_workers_are_listed(yard: Yard, looker: TestApp) -> None:
    yard.crew(slots=3)
    (worker,) = looker.get(f"{ROOT}/workers").json["items"]
    assert (worker["host"], worker["slots"], worker["draining"]) == ("here", 3, False)


def test_what_is_known_already_is_304(yard: Yard, looker: TestApp, partial: RunHandle) -> None:
    url = f"{_RUNS}/{partial.id}"
    paths = ["", "/chunks", "/chunks/2", "/failures", "/failure-groups", "/quarantine", "/activity"]
    marks = {}
    for path in paths:
        first = looker.get(url + path)
        assert first.headers["Cache-Control"] == "private, no-cache"
        marks[path] = first.headers["ETag"]
        assert marks[path].startswith('W/"')
        same = looker.get(url + path, headers={"If-None-Match": marks[path]}, status=304)
        assert (same.body, same.headers["ETag"]) == (b"", marks[path])
        assert "Content-Type" not in same.headers
    assert len(set(marks.values())) == len(paths)
    partial.retry()
    for path, mark in marks.items():
        assert looker.get(url + path, headers={"If-None-Match": mark}).headers["ETag"] != mark


def test_the_list_of_runs_is_304_until_there_is_another(yard: Yard, looker: TestApp) -> None:
    yard.run()
    # It is told anew every few seconds, whatever happens; that may be just now.
    for _ in range(3):
        mark = looker.get(_RUNS).headers["ETag"]
        answer = looker.get(_RUNS, headers={"If-None-Match": f'"other", {mark}'})
        if answer.status_int == 304:
            break
    assert answer.status_int == 304
    looker.get(f"{_RUNS}?limit=1", headers={"If-None-Match": mark}, status=200)
    yard.run()
    looker.get(_RUNS, headers={"If-None-Match": mark}, status=200)


# What goes wrong


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/nothing", "/../v2/runs", "/runs/", "/runs/1/nothing", "/runs/99/chunks"),
        *("/runs/x", "/runs/0", "/runs/-1", "/runs/99", "/runs/%00", "/runs/%D9%A1"),
        *("/runs/99999999999999999999", "/runs/1/chunks/x", "/runs/1/chunks/9.2"),
        "/runs/1/chunks/9",
    ],
)
def test_what_is_not_there(looker: TestApp, partial: RunHandle, path: str) -> None:
    answer = looker.get(f"{ROOT}{path}", expect_errors=True)
    problem = refused(answer, 404, "not-found")
    assert "Traceback" not in problem["detail"]
    assert problem["instance"].startswith("/api/v1")


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=x", "limit=", "status=nothing", "status=%ff"),
        *("cursor=", "cursor=!", "cursor=WzFd!", "cursor=" + "W" * 200, "cursor=" + "W" * 201),
        # [], ["a"], {"a":1}, [-1], [true], and a number that is too large
        *("cursor=W10", "cursor=WyJhIl0", "cursor=eyJhIjoxfQ", "cursor=Wy0xXQ", "cursor=W3RydWVd"),
        "cursor=WzEwMDAwMDAwMDAwMDAwMDAwMDAwXQ",
    ],
)
@pytest.mark.parametrize("path", ["/runs", "/runs/1/chunks"])
def test_a_query_that_makes_no_sense_is_refused(
    looker: TestApp, partial: RunHandle, path: str, query: str
) -> None:
    answer = looker.get(f"{ROOT}{path}?{query}", expect_errors=True)
    refused(answer, 400, "unreadable-request")


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
        answer = looker.get(_RUNS, headers={"Accept": accept}, expect_errors=True)
        assert answer.status_int == status, accept
    refused(looker.get(_RUNS, headers={"Accept": "text/html"}, status=406), 406, "not-acceptable")


def test_what_is_too_large_is_not_read(yard: Yard, deployer: TestApp, job: str) -> None:
    body = {"job": job, "parameters": {"tag": "x" * 65_536}}
    refused(post(deployer, "/runs", body), 413, "request-too-large")
    body["parameters"] = {"tag": "x" * 60_000}
    assert post(deployer, "/runs", body).status_int == 202


def test_what_is_too_large_is_not_read_in_pieces_either(deployer: TestApp, job: str) -> None:
    body = json.dumps({"job": job, "parameters": {"tag": "x" * 65_536}}).encode()
    environ: Any = {"wsgi.input_terminated": True}
    request = deployer.RequestClass.blank(_RUNS, method="POST", environ=environ, body=body)
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
            answer = looker.get(f"{_RUNS}/{partial.id}", expect_errors=True)
        refused(answer, 503, "database-unreachable")
        assert answer.headers["Retry-After"] == "5"


def test_a_mistake_of_ours_tells_nothing(
    looker: TestApp, partial: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("hunter2")

    monkeypatch.setattr("breakbulk.app.Breakbulk.progress_of", broken)
    answer = looker.get(f"{_RUNS}/{partial.id}", expect_errors=True)
    refused(answer, 500, "internal-error")
    assert "hunter2" not in answer.text


def test_an_answer_that_is_not_what_the_document_says_is_not_given(
    looker: TestApp, partial: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "breakbulk.domain.progress.Progress.as_dict", lambda _self: {"secret": "hunter2"}
    )
    answer = looker.get(f"{_RUNS}/{partial.id}", expect_errors=True)
    refused(answer, 500, "internal-error")
    assert "hunter2" not in answer.text


# What it costs

#: What grows with rows. Runs do not: somebody has to start them.
_BIG = ("chunks", "failures", "quarantine", "activity", "tallies")
_MANY = 5_000


def make_much(yard: Yard) -> RunHandle:
    """A long run of which much has failed, after many others."""
    handle = plans.make_long_run(yard)
    schema = yard.ledger.database.schema
    numbers = (
        "WITH RECURSIVE numbers (n) AS"
        f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {_MANY})"
    )
    columns = [column.name for column in schema.runs.columns]
    ended = {"id": "n + 10", "status": "'succeeded'", "finished_at": "submitted_at", "slot": "NULL"}
    rows = "SELECT {} FROM " + schema.runs.fullname + ", numbers WHERE id = 1"
    told = "run_id, round, at, number, path, {}, error, message"
    failed = "1 + n % 2, 1, submitted_at, n, '', 1, 'Boom', 'boom'"
    with yard.engine.begin() as connection:
        for into, values in (
            (f"{schema.failures.fullname} ({told.format('attempt')})", failed),
            (
                f"{schema.quarantine.fullname} ({told.format('attempts')}, key)",
                failed + ", '[1]'",
            ),
            (
                f"{schema.tallies.fullname} (run_id, at, lane, chunks, rows)",
                "1 + n % 50, submitted_at, -1, 1, 1",
            ),
            (f"{schema.activity.fullname} (run_id, at, actor, verb)", "1, submitted_at, 'a', 'b'"),
            (
                f"{schema.runs.fullname} ({', '.join(columns)})",
                ", ".join(ended.get(name, name) for name in columns),
            ),
        ):
            connection.execute(text(f"INSERT INTO {into} {numbers} {rows.format(values)}"))
    with yard.engine.connect() as connection:
        options = connection.execution_options(isolation_level="AUTOCOMMIT")
        options.execute(text("ANALYZE"))
    # SQLite reads what was found when a connection is opened.
    yard.engine.dispose()
    return handle


_LOOKS = [
    *("/runs", "/runs?limit=100", "/runs?status=failed", "/runs/{run}", "/runs/{run}/chunks"),
    *("/runs/{run}/chunks?status=failed&status=split", "/runs/{run}/chunks/1", "/workers"),
    *("/runs/{run}/failures", "/runs/{run}/quarantine", "/runs/{run}/activity", "/jobs"),
]


def test_a_look_costs_the_same_however_much_there_is(yard: Yard, looker: TestApp) -> None:
    small = yard.run()
    looker.get(_RUNS)
    few = {}
    for path in _LOOKS:
        with statements(yard.engine) as seen:
            looker.get(ROOT + path.format(run=small.id), status=200)
        few[path] = len(seen)
    wipe(yard.engine)
    looker.authorization = ("Bearer", yard.bulk.tokens.create("again").text)
    big = make_much(yard)
    looker.get(_RUNS)
    for path in _LOOKS:
        asked: list[tuple[str, Any]] = []

        def note(_c: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
            asked.append((statement, given))  # noqa: B023  (it is removed in the same round)

        event.listen(yard.engine, "before_cursor_execute", note)
        looker.get(ROOT + path.format(run=big.id), status=200)
        event.remove(yard.engine, "before_cursor_execute", note)
        # The small one has ended, and of that its summary is asked; of this one three things more.
        assert len(asked) <= few[path] + 3, path
        assert len(asked) <= 16, path
        for plan in plans.explained(yard, asked):
            for name in _BIG:
                assert f"Seq Scan on {name}" not in plan, (path, plan)
                assert f"SCAN breakbulk_{name}\n" not in f"{plan}\n", (path, plan)


def test_a_look_at_what_is_known_takes_four_statements(
    yard: Yard, looker: TestApp, partial: RunHandle
) -> None:
    """The token, the run, its tag; and what a connection is asked when it is taken."""
    url = f"{_RUNS}/{partial.id}"
    mark = looker.get(url).headers["ETag"]
    with statements(yard.engine) as seen:
        looker.get(url, headers={"If-None-Match": mark}, status=304)
    assert len([one for one in seen if one.startswith("SELECT")]) == 3, seen
