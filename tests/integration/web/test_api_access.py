"""Who may do what over the API: every operation there is, by token and by the host's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from sqlalchemy import select
from webtest import TestApp

from breakbulk import Masked, RunStatus
from breakbulk.web import make_wsgi_app
from breakbulk.web.api.contract import ROOT, document
from breakbulk.web.application import _ROUTES
from tests.integration.web.conftest import machine, person
from tests.integration.web.test_security import (
    CHOOSING,
    OPEN,
    READING,
    STEERING,
    ready_for,
    told_by,
)
from tests.support.yard import Goods

if TYPE_CHECKING:
    from webtest import TestResponse

    from breakbulk import RunHandle
    from tests.support.yard import Yard

_DOCUMENTS = [f"{ROOT}/openapi.json", f"{ROOT}/openapi.yaml"]


def operations(method: str) -> list[str]:
    """The addresses that take a method, as the document has them."""
    found = [f"{ROOT}{path}" for path, item in document()["paths"].items() if method in item]
    return [*found, *_DOCUMENTS] if method == "get" else found


@pytest.fixture
def yard(sqlite_yard: Yard) -> Yard:
    """Who may do what is the same on every database."""
    return sqlite_yard


@pytest.fixture
def going(yard: Yard) -> RunHandle:
    worked: list[int] = []
    handle = yard.submit(
        yard.job(lambda chunk: worked.append(chunk.number), name="a.job", chunk_size=1)
    )
    crew = yard.first_crew
    lane = yard.lane(handle, crew=crew)
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    # Some chunks to look at, and more to come: it must still go on.
    crew.work_until(lambda: len(worked) >= 2)
    return handle


@pytest.fixture
def nameless(nobody: TestApp) -> TestApp:
    """For somebody who is known, and may do nothing."""
    return person(nobody, "eve", "")


def path_of(pattern: str, run: RunHandle) -> str:
    return pattern.format(run=run.id, job="a.job", chunk=1)


def assert_problem(answer: TestResponse, status: int) -> None:
    assert answer.status_int == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert set(answer.json) >= {"type", "title", "detail", "instance"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_route_of_the_application_is_in_a_matrix(nobody: TestApp) -> None:
    """Also of those that somebody adds later."""
    router: Any = nobody.app
    routes = router.routes_mapper.get_routes(include_static=False)
    api = {route.pattern for route in routes if route.pattern.startswith("/api")}
    assert api == {*operations("get"), *operations("post")}
    # Whatever is asked for by its digest is the same for everybody.
    others = {route.name for route in routes} - {"asset"}
    assert {name for name in others if not name.startswith("api.")} == set(_ROUTES)
    assert set(_ROUTES) == {*READING, *STEERING, *CHOOSING, *OPEN}


@pytest.mark.parametrize("pattern", operations("get"))
def test_looking(
    going: RunHandle,
    nobody: TestApp,
    nameless: TestApp,
    viewer: TestApp,
    operator: TestApp,
    looker: TestApp,
    deployer: TestApp,
    pattern: str,
) -> None:
    path = path_of(pattern, going)
    refused = nobody.get(path, expect_errors=True)
    assert_problem(refused, 401)
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="breakbulk"'
    assert_problem(nameless.get(path, expect_errors=True), 403)
    for app in (viewer, operator, looker, deployer):
        app.get(path, status=200)
        app.head(path, status=200)


@pytest.mark.parametrize("pattern", operations("post"))
def test_steering(
    yard: Yard,
    going: RunHandle,
    nobody: TestApp,
    nameless: TestApp,
    viewer: TestApp,
    operator: TestApp,
    looker: TestApp,
    pattern: str,
) -> None:
    path, before = path_of(pattern, going), going.record()
    body: Any = {"job": "a.job", "parameters": {}} if "{run}" not in pattern else {}
    for app, status in ((nobody, 401), (nameless, 403), (viewer, 403), (looker, 403)):
        assert_problem(app.post_json(path, body, expect_errors=True), status)
    # An operator may not either what another site has asked his browser for, or what a form of
    # another site could send.
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        refused = operator.post_json(path, body, headers=headers, expect_errors=True)
        assert_problem(refused, 403)
        assert "another site" in refused.json["detail"]
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        for sent in ("{}", ""):
            answer = operator.post(path, sent, {"Content-Type": kind}, expect_errors=True)
            assert_problem(answer, 415)
            assert answer.headers["Accept-Post"] == "application/json"
    assert going.record() == before, "nothing has happened"
    assert yard.count("runs") == 1


#: Each verb with a body, the state that it needs, and what of it is told in the activity.
_ASKED: list[tuple[str, dict[str, Any], str, str]] = [
    ("pause", {}, "pause", "pausing"),
    ("resume", {}, "resume", "resumed"),
    ("cancel", {}, "cancel", "cancelling"),
    ("cancel", {"force": True}, "force", "forced"),
    ("lanes", {"lanes": 2}, "lanes", "lanes"),
    ("limits", {"max_rows_per_second": 5}, "limits", "limits"),
    ("retry", {}, "retry", "retried"),
    ("retry", {"chunk": "2"}, "retry", "retried"),
    ("finish", {}, "finish", "finishing"),
]


def test_every_verb_is_asked_for() -> None:
    known = {path.rpartition("/")[2] for path in operations("post") if "{run}" in path}
    assert known == {verb for verb, *_ in _ASKED}


@pytest.mark.parametrize(("verb", "body", "state", "told"), _ASKED)
def test_every_verb_is_for_machines_that_may_operate(
    yard: Yard,
    looker: TestApp,
    deployer: TestApp,
    verb: str,
    body: dict[str, Any],
    state: str,
    told: str,
) -> None:
    handle = ready_for(yard, state)
    path = f"{ROOT}/runs/{handle.id}/{verb}"
    assert_problem(looker.post_json(path, body, expect_errors=True), 403)
    assert not {*told_by(handle, "graphs"), *told_by(handle, "deployer")}
    deployer.post_json(path, body, status=200)
    assert told_by(handle, "deployer") == [told]


def test_an_operator_steers_from_his_own_browser(going: RunHandle, operator: TestApp) -> None:
    operator.post_json(
        f"{ROOT}/runs/{going.id}/pause",
        {},
        headers={"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:80"},
        status=200,
    )
    assert "ana" in {one.actor for one in going.activity()}


def test_a_machine_steers_in_the_name_of_its_token(going: RunHandle, deployer: TestApp) -> None:
    answer = deployer.post(f"{ROOT}/runs/{going.id}/cancel", status=200)
    assert answer.json["run"] == going.id
    assert going.status() in {RunStatus.CANCELLING, RunStatus.CANCELLED}
    assert "deployer" in {one.actor for one in going.activity()}


def test_a_token_is_no_use_any_more_once_it_is_revoked(
    yard: Yard, going: RunHandle, looker: TestApp
) -> None:
    looker.get(f"{ROOT}/runs", status=200)
    yard.bulk.tokens.revoke("graphs")
    answer = looker.get(f"{ROOT}/runs", expect_errors=True)
    assert_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')


def test_a_wrong_token_lets_nobody_in_whoever_sends_it(going: RunHandle, operator: TestApp) -> None:
    """The host's policy is not asked then: a machine must hear that its token is void."""
    wrong = machine(operator, f"bbk_1_{'x' * 40}")
    wrong.extra_environ |= operator.extra_environ
    assert_problem(wrong.get(f"{ROOT}/runs", expect_errors=True), 401)


def test_tokens_of_others_are_the_policys_business(going: RunHandle, operator: TestApp) -> None:
    operator.get(f"{ROOT}/runs", headers={"Authorization": "Bearer eyJ0"}, status=200)
    operator.get(f"{ROOT}/runs", headers={"Authorization": "Basic YTpi"}, status=200)


def test_a_token_opens_no_page_of_the_dashboard(going: RunHandle, deployer: TestApp) -> None:
    deployer.get("/runs", status=401)
    deployer.get("/apis", status=404)


def test_a_token_works_without_a_policy(yard: Yard, going: RunHandle) -> None:
    app = TestApp(make_wsgi_app(yard.bulk))
    assert_problem(app.get(f"{ROOT}/runs", expect_errors=True), 401)
    machine(app, yard.bulk.tokens.create("ci").text).get(f"{ROOT}/runs", status=200)


@pytest.mark.parametrize("mount", ["/breakbulk", "/team/ops"])
def test_it_works_wherever_it_is_mounted(
    yard: Yard, going: RunHandle, nobody: TestApp, mount: str
) -> None:
    token = yard.bulk.tokens.create("ci", can="operate").text
    environ = {"SCRIPT_NAME": mount, "HTTP_AUTHORIZATION": f"Bearer {token}"}
    app = TestApp(nobody.app, extra_environ=environ)
    page = app.get(f"{mount}{ROOT}/runs/{going.id}/chunks?limit=1", status=200)
    assert page.json["next"].startswith(
        f"http://localhost{mount}{ROOT}/runs/{going.id}/chunks?limit=1&cursor="
    )
    assert len(app.get(page.json["next"]).json["items"]) == 1
    made = app.post_json(f"{mount}{ROOT}/runs", {"job": "a.job", "overlap": "allow"}, status=202)
    assert made.location == f"http://localhost{mount}{ROOT}/runs/{made.json['run']['id']}"
    app.get(made.location, status=200)
    lost = app.get(f"{mount}{ROOT}/runs/999", status=404)
    assert lost.json["instance"] == f"{mount}{ROOT}/runs/999"
    served = app.get(f"{mount}{ROOT}/openapi.json").json
    assert served["servers"] == [{"url": f"{mount}{ROOT}"}]
    assert f'- url: "{mount}{ROOT}"\n' in app.get(f"{mount}{ROOT}/openapi.yaml").text


def test_secrets_stay_hidden(yard: Yard, deployer: TestApp) -> None:
    @yard.bulk.job(name="a.secret")
    class Secret:
        key: Annotated[str, Masked] = "default-hush"

        def source(self) -> Any:
            return select(Goods)

        def process(self, chunk: Any) -> None: ...

    given: dict[str, Any] = {"job": "a.secret", "parameters": {"key": "given-hush"}}
    run = deployer.post_json(f"{ROOT}/runs", given, status=202)
    assert run.json["run"]["parameters"] == {"key": "***"}
    answers = [run, deployer.post_json(f"{ROOT}/plans", given)]
    yard.settle(yard.bulk.run(run.json["run"]["id"]))
    for path in operations("get"):
        handle = yard.bulk.run(run.json["run"]["id"])
        answers.append(deployer.get(path.format(run=handle.id, job="a.secret", chunk=1)))
    for wrong in (5, ["given-hush"]):
        given["parameters"] = {"key": wrong}
        answers.append(deployer.post_json(f"{ROOT}/runs", given, status=422))
    given["parameters"] = "given-hush"
    answers.append(deployer.post_json(f"{ROOT}/runs", given, status=422))
    for answer in answers:
        assert "hush" not in answer.text, answer.request.path
