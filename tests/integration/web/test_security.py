"""Who may do what, on every route there is, and what every answer carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from sqlalchemy import select
from webtest import TestApp

from breakbulk import Chunk, ChunkStatus, FinishedRun, Masked, RunStatus
from breakbulk.web import LoginLink, make_wsgi_app
from breakbulk.web.application import _ROUTES
from tests.support.yard import Boom, Goods

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.yard import Yard

_VERBS = ("pause", "resume", "cancel", "force", "lanes", "limits", "retry", "finish")
#: Every route with what it takes to get there; a new route has to be put here.
READING = {
    "overview": "/",
    "runs": "/runs",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "workers": "/workers",
    "metrics": "/metrics",
    "run": "/runs/{run}",
    "chunks": "/runs/{run}/chunks",
    "chunk": "/runs/{run}/chunks/1",
    "failures": "/runs/{run}/failures",
    "report": "/runs/{run}/report",
    "webhooks": "/webhooks",
    "delivery": "/webhooks/deliveries/{delivery}",
}
STEERING = {
    "verb": tuple(f"/runs/{{run}}/{verb}" for verb in _VERBS),
    "job": ("/jobs/{job}",),
    "endpoint_verb": ("/webhooks/{endpoint}/enable", "/webhooks/{endpoint}/disable"),
    "replay": ("/webhooks/deliveries/{delivery}/replay",),
}
#: Whoever may look may choose how it looks.
CHOOSING = {"preferences": "/preferences"}
OPEN = {"login"}
#: What of a verb is told in the activity, and what has to be sent with it.
_TOLD: dict[str, tuple[str, dict[str, str]]] = {
    "pause": ("pausing", {}),
    "resume": ("resumed", {}),
    "cancel": ("cancelling", {}),
    "force": ("forced", {}),
    "lanes": ("lanes", {"lanes": "2"}),
    "limits": ("limits", {"limit.max_rows_per_second": "5"}),
    "retry": ("retried", {}),
    "finish": ("finishing", {}),
}


@pytest.fixture
def yard(sqlite_yard: Yard) -> Yard:
    """Who may do what is the same on every database."""
    return sqlite_yard


@pytest.fixture
def going(yard: Yard) -> RunHandle:
    worked: list[int] = []
    yard.bulk.webhooks.add("https://1.1.1.1/in", events=["run.submitted"])
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


def path_of(pattern: str, run: RunHandle) -> str:
    return pattern.format(run=run.id, job="a.job", endpoint=1, delivery=1)


def refused(app: TestApp, path: str) -> None:
    """Neither without the token of his own browser, nor from elsewhere."""
    app.get("/")
    token = app.cookies["breakbulk_csrf"] or ""
    for given, headers in (
        ({}, {}),
        ({"csrf_token": "x" * len(token)}, {}),
        ({"csrf_token": token}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf_token": token}, {"Sec-Fetch-Site": "same-site"}),
        ({"csrf_token": token}, {"Origin": "https://evil.example"}),
    ):
        app.post(path, given, headers=headers, status=403)


def ready_for(yard: Yard, verb: str) -> RunHandle:
    """A run of which a verb may be asked."""

    def bad(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            if row.id == 13:
                raise Boom("13")
            row.version += 1

    def mute(_run: FinishedRun) -> None:
        raise Boom("no mail today")

    if verb == "retry":
        return yard.run(bad, max_retries=0)
    if verb == "finish":
        return yard.run(finished=mute, max_retries=0)
    handle = yard.submit(yard.job())
    if verb == "resume":
        handle.pause()
    if verb == "force":
        yard.lane(handle)
        handle.cancel()
    return handle


def told_by(handle: RunHandle, actor: str) -> list[str]:
    """What somebody has done to a run."""
    return [did.verb for did in handle.activity() if did.actor == actor]


def test_every_route_is_in_the_matrix() -> None:
    assert {*READING, *STEERING, *CHOOSING, *OPEN} == set(_ROUTES)
    assert set(_TOLD) == set(_VERBS)


@pytest.mark.parametrize("route", READING)
def test_reading(
    going: RunHandle, nobody: TestApp, viewer: TestApp, operator: TestApp, route: str
) -> None:
    path = path_of(READING[route], going)
    assert "Who is there?" in nobody.get(path, status=401)
    viewer.get(path, status=200)
    operator.get(path, status=200)
    TestApp(nobody.app, extra_environ={"REMOTE_USER": "eve", "test.can": ""}).get(path, status=403)


@pytest.mark.parametrize("pattern", [path for paths in STEERING.values() for path in paths])
def test_steering(
    yard: Yard,
    going: RunHandle,
    nobody: TestApp,
    viewer: TestApp,
    operator: TestApp,
    pattern: str,
) -> None:
    path, before = path_of(pattern, going), (going.record(), yard.bulk.webhooks.endpoints())
    for app, status in ((nobody, 401), (viewer, 403)):
        if status == 403:
            app.get("/")
        token = app.cookies.get("breakbulk_csrf") or ""
        app.post(path, {"csrf_token": token}, status=status)
    refused(operator, path)
    operator.get(path, status=200 if "/jobs/" in path else 404)
    assert (going.record(), yard.bulk.webhooks.endpoints()) == before, "nothing has happened"
    assert len(yard.bulk.webhooks.deliveries()) == 1


@pytest.mark.parametrize("pattern", CHOOSING.values())
def test_choosing(yard: Yard, nobody: TestApp, viewer: TestApp, pattern: str) -> None:
    given = {"theme": "dark", "back": "/"}
    nobody.post(pattern, given, status=401)
    TestApp(nobody.app, extra_environ={"REMOTE_USER": "eve", "test.can": ""}).post(
        pattern, given, status=403
    )
    refused(viewer, pattern)
    assert "breakbulk_theme" not in viewer.cookies
    given["csrf_token"] = viewer.cookies["breakbulk_csrf"] or ""
    viewer.post(pattern, given, status=303)
    assert viewer.cookies["breakbulk_theme"] == "dark"


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_is_an_operators(
    yard: Yard, viewer: TestApp, operator: TestApp, verb: str
) -> None:
    handle = ready_for(yard, verb)
    path, (told, given) = f"/runs/{handle.id}/{verb}", _TOLD[verb]
    for app, status in ((viewer, 403), (operator, 303)):
        app.get("/")
        sent = {"csrf_token": app.cookies["breakbulk_csrf"] or "", **given}
        app.post(path, sent, headers={"Sec-Fetch-Site": "same-origin"}, status=status)
        assert told_by(handle, "ana") == ([told] if app is operator else [])
    assert not told_by(handle, "ben")


def test_a_chunk_is_tried_again_by_an_operator(
    yard: Yard, viewer: TestApp, operator: TestApp
) -> None:
    handle = ready_for(yard, "retry")
    path = f"/runs/{handle.id}/chunks/{handle.errors()[0].chunk}"
    assert not [form for form in viewer.get(path).forms.values() if "chunk" in form.fields]
    (form,) = [form for form in operator.get(path).forms.values() if "chunk" in form.fields]
    form.submit().follow()
    assert told_by(handle, "ana") == ["retried"]
    assert [chunk.name for chunk in handle.chunks(statuses=[ChunkStatus.WAITING])] == [
        form["chunk"].value
    ]


def test_an_operator_steers_from_his_own_browser(going: RunHandle, operator: TestApp) -> None:
    operator.get("/")
    operator.post(
        f"/runs/{going.id}/cancel",
        {"csrf_token": operator.cookies["breakbulk_csrf"] or ""},
        headers={"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:80"},
        status=303,
    )
    assert going.status() in {RunStatus.CANCELLING, RunStatus.CANCELLED, RunStatus.SUCCEEDED}


def test_without_a_policy_nobody_is_let_in(yard: Yard) -> None:
    app = TestApp(make_wsgi_app(yard.bulk))
    assert "No access policy is set" in app.get("/", status=401)
    app.get("/login?token=", status=404)


def test_a_login_link(yard: Yard) -> None:
    links: list[str] = []
    policy = LoginLink("ana@here", links.append)
    policy.renew()
    app: Any = make_wsgi_app(yard.bulk, access=policy)
    first, second = TestApp(app), TestApp(app)
    assert "Open the link" in first.get("/", status=401)
    first.get("/login?token=wrong", status=401)
    first.head(f"/login?token={links[0]}", status=200)  # a look whether it leads somewhere
    first.get(f"/login?token={links[0]}", status=303)
    first.get("/", status=200)
    second.get(f"/login?token={links[0]}", status=401)
    second.get("/", status=401)
    cookie = next(one for one in first.cookiejar if one.name == "breakbulk_session_80")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Strict"


@pytest.mark.parametrize(
    ("path", "cookie"),
    [("/runs/%ff", ""), ("/runs?job=%ff", ""), ("/", 'breakbulk_csrf="\xff"'), ("/%ff", "")],
)
def test_what_is_not_text_is_refused_and_not_broken_by(
    viewer: TestApp, nobody: TestApp, path: str, cookie: str
) -> None:
    for app in (viewer, nobody):
        answer = app.get(path, headers={"Cookie": cookie} if cookie else {}, status=400)
        assert "not written in UTF-8" in answer
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/", "/elsewhere", "/runs/999", "/workers"])
def test_every_answer_carries_the_headers(viewer: TestApp, path: str) -> None:
    answer = viewer.get(path, expect_errors=True)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_assets_may_be_kept_for_ever(viewer: TestApp, nobody: TestApp) -> None:
    page = viewer.get("/")
    links = [str(link["href"]) for link in page.html.select("link")]
    links += [str(script["src"]) for script in page.html.select("script")]
    assert len(links) == 7
    for link in links:
        assert "immutable" in nobody.get(link, status=200).headers["Cache-Control"]
    nobody.get(links[1].replace("vendor/pico-2.1.1.min.css", "../access.py"), status=404)


class Secret:
    """It knows something."""

    key: Annotated[str, Masked] = "default-hush"

    def source(self) -> Any:
        return select(Goods)

    def process(self, chunk: Any) -> None: ...


def test_secrets_stay_hidden(yard: Yard, operator: TestApp) -> None:
    # A class of its own each time: declaring makes it a frozen dataclass.
    declared = type("Secret", (), {**vars(Secret), "__module__": __name__})
    yard.bulk.job(name="a.secret")(declared)
    run = yard.bulk.submit(yard.bulk.build("a.secret", {"key": "given-hush"}))
    yard.settle(run)
    for path in (
        "/",
        "/runs",
        "/jobs",
        "/jobs/a.secret",
        f"/runs/{run.id}",
        f"/runs/{run.id}/report",
    ):
        assert "given-hush" not in operator.get(path)
    assert "***" in operator.get(f"/runs/{run.id}")
    page = operator.get("/jobs/a.secret")
    assert "default-hush" not in page, "not in its source, either"
    form = next(one for one in page.forms.values() if "p.key" in one.fields)
    form["p.key"] = "typed-hush"
    form["overlap"] = "wait"
    planned = form.submit("act", value="plan")
    assert "typed-hush" not in planned, "a secret is typed anew"
    assert planned.html.select("input[name=overlap][checked]"), "and the rest is as it was"
    assert "SELECT" not in operator.get(f"/runs/{run.id}/chunks/1")
