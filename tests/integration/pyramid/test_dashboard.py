"""The dashboard as part of a Pyramid application: the host decides, and is left as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyramid.authorization import ACLHelper, Allow
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from sqlalchemy import delete
from webtest import TestApp

from breakbulk import RunStatus
from breakbulk.pyramid import OPERATE, VIEW
from breakbulk.web.protection import MOST_BODY
from tests.integration.web.conftest import one
from tests.integration.web.test_security import READING, STEERING, path_of
from tests.support.yard import Goods, touch

if TYPE_CHECKING:
    from pyramid.config import Configurator
    from webtest import TestResponse

    from breakbulk import RunHandle
    from tests.support.pyramid_yard import PyramidYard

_SETTINGS = {"pyramid.includes": "breakbulk.web breakbulk", "breakbulk.web.title": "Yard"}


class Policy:
    """Ana may operate, ben may look, and zoe is known, but may neither."""

    def identity(self, request: Request) -> str | None:
        user: str | None = request.headers.get("user")
        return user

    authenticated_userid = identity

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        return ACLHelper().permits(context, [self.identity(request) or "nobody"], permission)


class Root:
    """The resource that the host's permissions are about."""

    __acl__ = ((Allow, "ana", (VIEW, OPERATE)), (Allow, "ben", VIEW))

    def __init__(self, _request: Request) -> None: ...


def configure(config: Configurator) -> None:
    """A host with manners of its own: roots, tokens, a default permission, a login page."""
    config.set_root_factory(Root)
    config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
    config.set_default_csrf_options(require_csrf=True)
    config.set_default_permission("anything but the dashboard's")
    config.add_forbidden_view(
        lambda request: HTTPSeeOther(f"/login?why={request.exception.detail}")
    )


def host(make_yard: Any, **options: Any) -> PyramidYard:
    given = {"policy": Policy, "configure": configure, "settings": _SETTINGS, **options}
    yard: PyramidYard = make_yard(**given)
    return yard


def person(yard: PyramidYard, user: str, prefix: str = "") -> TestApp:
    """Somebody's browser, behind a proxy that serves the host under a prefix if one is given."""
    return TestApp(yard.app, extra_environ={"HTTP_USER": user, "SCRIPT_NAME": prefix})


def going(yard: PyramidYard, name: str = "a.job") -> RunHandle:
    return yard.submit(yard.job(touch, name=name))


def press(page: TestResponse, verb: str) -> TestResponse:
    form = next(form for form in page.forms.values() if form.action.endswith(f"/{verb}"))
    return form.submit()


@pytest.mark.parametrize("prefix", ["", "/app"])
def test_whoever_the_host_lets_operate_does(make_yard: Any, prefix: str) -> None:
    yard = host(make_yard)
    run = going(yard)
    ana = person(yard, "ana", prefix)
    page = ana.get(f"/breakbulk/runs/{run.id}")
    assert "<title>Run 1 · a.job · Yard</title>" in page
    cookie = page.headers["Set-Cookie"]
    assert f"Path={prefix}/breakbulk;" in cookie
    links = {str(link["href"]) for link in page.html.select("a[href^='/'], link[href]")}
    assert {link for link in links if not link.startswith(f"{prefix}/breakbulk/")} == set()
    answer = press(page, "pause")
    assert answer.location == f"http://localhost{prefix}/breakbulk/runs/{run.id}"
    assert run.status() is RunStatus.PAUSED
    assert {did.actor for did in run.activity() if did.verb == "pausing"} == {"ana"}


def test_a_run_that_is_started_there_is_the_hosts_users(make_yard: Any) -> None:
    yard = host(make_yard)
    yard.job(touch, name="a.job")
    page = person(yard, "ana").get("/breakbulk/jobs/a.job")
    form = next(form for form in page.forms.values() if "p.tag" in form.fields)
    answer = form.submit("act", value="start", status=303)
    (run,) = yard.bulk.runs()
    assert answer.location == f"http://localhost/breakbulk/runs/{run.id}"
    assert run.submitted_by == "ana"


def test_styles_are_where_the_pages_say(make_yard: Any) -> None:
    yard = host(make_yard)
    page = person(yard, "ben", "/app").get("/breakbulk")
    for link in page.html.select("link[href]"):
        path = str(link["href"]).removeprefix("/app")
        assert person(yard, "", "/app").get(path).status_int == 200, "for everybody"


@pytest.mark.parametrize("user", ["", "zoe"])
def test_whoever_may_not_look_is_shown_the_hosts_way_in(make_yard: Any, user: str) -> None:
    yard = host(make_yard)
    run = going(yard)
    them = person(yard, user)
    for pattern in (*READING.values(), "/elsewhere", "/login?token=x"):
        answer = them.get(f"/breakbulk{path_of(pattern, run)}")
        assert answer.location == (
            "http://localhost/login?why=The dashboard needs the permission breakbulk.view."
        )
    for pattern in (path for paths in STEERING.values() for path in paths):
        assert them.post(f"/breakbulk{path_of(pattern, run)}").status_int == 303
    assert run.status() is RunStatus.RUNNING


def test_whoever_may_only_look_cannot_steer(make_yard: Any) -> None:
    yard = host(make_yard)
    run = going(yard)
    ben = person(yard, "ben")
    page = ben.get(f"/breakbulk/runs/{run.id}")
    assert "may look, not steer" in page
    token = str(one(page, "input[name=csrf_token]")["value"])
    refused = ben.post(f"/breakbulk/runs/{run.id}/pause", {"csrf_token": token}, status=403)
    assert "You may look here, but not steer." in refused
    assert run.status() is RunStatus.RUNNING


def test_the_dashboards_own_token_is_asked_for(make_yard: Any) -> None:
    yard = host(make_yard)
    run = going(yard)
    ana = person(yard, "ana")
    ana.get(f"/breakbulk/runs/{run.id}")
    ana.post(f"/breakbulk/runs/{run.id}/pause", {"csrf_token": "x"}, status=403)
    assert run.status() is RunStatus.RUNNING


def test_machines_come_by_tokens_of_their_own(make_yard: Any) -> None:
    yard = host(make_yard)
    run = going(yard)
    machine = TestApp(yard.app)
    answer = machine.get(f"/breakbulk/api/v1/runs/{run.id}", status=401)
    assert answer.content_type == "application/problem+json", "no login page"
    machine.authorization = ("Bearer", yard.bulk.tokens.create("ci", can="operate").text)
    assert machine.get(f"/breakbulk/api/v1/runs/{run.id}").json["run"]["id"] == run.id


def test_without_a_policy_nobody_is_let_in(make_yard: Any) -> None:
    yard = host(make_yard, policy=None, configure=None)
    page = person(yard, "ana").get("/breakbulk/", status=403)
    assert "this application has no security policy" in page


def test_pages_that_are_not_there_are_ours(make_yard: Any) -> None:
    ben = person(host(make_yard), "ben")
    assert "There is no such page." in ben.get("/breakbulk/elsewhere", status=404)
    assert "There is no run 99" in ben.get("/breakbulk/runs/99", status=404)
    assert "There is no such page." not in ben.get("/breakbulks", status=404)


def test_what_is_too_large_is_not_read(make_yard: Any) -> None:
    yard = host(make_yard)
    run = going(yard)
    for length, body in ((str(MOST_BODY + 1), b"x"), ("", b"x" * (MOST_BODY + 1))):
        sent = Request.blank(f"/breakbulk/runs/{run.id}/cancel", method="POST", body=body)
        sent.environ |= {"wsgi.input_terminated": True, "HTTP_USER": "ana"}
        sent.environ["CONTENT_LENGTH"] = length
        assert sent.get_response(yard.app).status_int == 413
    assert run.status() is RunStatus.RUNNING


@pytest.mark.parametrize("vetoed", [True, False])
def test_the_hosts_transaction_is_its_own(make_yard: Any, *, vetoed: bool) -> None:
    class Counting(Policy):
        """Writes down whom it has seen, as hosts do that know when somebody was there last."""

        def permits(self, request: Request, context: Any, permission: str) -> Any:
            if permission == OPERATE:
                request.dbsession.add(Goods(id=1000, version=0))
            return super().permits(request, context, permission)

    veto = {"tm.commit_veto": f"{__name__}.veto"} if vetoed else {}
    yard = host(make_yard, policy=Counting, rows=0, settings=_SETTINGS | veto)
    run = going(yard)
    ana = person(yard, "ana")
    page = ana.get(f"/breakbulk/runs/{run.id}")
    token = str(one(page, "input[name=csrf_token]")["value"])
    with yard.engine.begin() as connection:
        connection.execute(delete(Goods))
    ana.post(f"/breakbulk/runs/{run.id}/pause", {"csrf_token": token}, status=303)
    assert run.status() is RunStatus.PAUSED
    assert list(yard.versions()) == ([] if vetoed else [1000])


def veto(_request: Request, _response: Any) -> bool:
    """A host that commits nothing."""
    return True


def test_the_hosts_request_is_its_own(make_yard: Any) -> None:
    seen: list[Any] = []

    def look(handler: Any, registry: Any) -> Any:
        def tween(request: Request) -> Any:
            request.mine = "the host's"
            answer = handler(request)
            seen.append((request.registry is registry, request.mine, request.matched_route.name))
            return answer

        return tween

    def with_tween(config: Configurator) -> None:
        config.registry["look"] = look
        config.add_tween("tests.integration.pyramid.test_dashboard.looking")
        configure(config)

    yard = host(make_yard, configure=with_tween)
    person(yard, "ben").get("/breakbulk/")
    assert seen == [(True, "the host's", "breakbulk.web")]


def looking(handler: Any, registry: Any) -> Any:
    """The tween that a test has put there."""
    return registry["look"](handler, registry)


def test_a_host_may_put_it_below_a_prefix_of_its_own(make_yard: Any) -> None:
    def below(config: Configurator) -> None:
        config.include("breakbulk.web", route_prefix="/{lang}/admin")
        configure(config)

    settings = {"pyramid.includes": "breakbulk", "breakbulk.web.path": "/bulk"}
    yard = host(make_yard, configure=below, settings=settings)
    page = person(yard, "ben").get("/de/admin/bulk/runs")
    assert one(page, ".brand")["href"] == "/de/admin/bulk/"
