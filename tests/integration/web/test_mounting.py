"""The dashboard under a path of somebody else's application, as the documentation shows it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from flask import session
from starlette.testclient import TestClient
from webtest import TestApp

from breakbulk import RunStatus
from tests.support.yard import touch

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.yard import Yard

_PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "dashboard.md"


@pytest.fixture
def yard(sqlite_yard: Yard) -> Yard:
    """Where it is mounted has nothing to do with the database."""
    return sqlite_yard


@pytest.fixture
def going(yard: Yard) -> RunHandle:
    return yard.submit(yard.job(touch))


@pytest.fixture
def shop(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the examples import."""
    module = ModuleType("shop")
    module.bulk = yard.bulk  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", module)


def example(word: str) -> dict[str, Any]:
    """Run the example in which a word stands; what it defines."""
    blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    (code,) = (block for block in blocks if word in block)
    names: dict[str, Any] = {"__name__": __name__}
    exec(code, names)  # noqa: S102  (our own documentation)
    return names


def test_in_flask(shop: None, going: RunHandle) -> None:
    flask_app = example("DispatcherMiddleware")["flask_app"]
    flask_app.secret_key = "a secret of the test"

    def login() -> str:
        session["user"] = "ana"
        return "in"

    flask_app.add_url_rule("/login", view_func=login)
    app = TestApp(flask_app)
    app.get("/breakbulk/", status=401)
    app.get("/login")
    page = app.get(f"/breakbulk/runs/{going.id}")
    form = next(form for form in page.forms.values() if form.action.endswith("/pause"))
    assert form.action == f"/breakbulk/runs/{going.id}/pause"
    assert "paused" in form.submit().follow()
    assert going.status() is RunStatus.PAUSED
    assert app.get("/breakbulk", status="*").status_int in {200, 302, 308}


def test_in_fastapi(shop: None, going: RunHandle) -> None:
    with TestClient(example("a2wsgi")["fastapi_app"]) as client:
        assert client.get("/breakbulk/").status_code == 401
        ana = {"X-Forwarded-User": "ana"}
        page = client.get(f"/breakbulk/runs/{going.id}", headers=ana)
        assert f'action="/breakbulk/runs/{going.id}/pause"' in page.text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert found is not None
        answer = client.post(
            f"/breakbulk/runs/{going.id}/pause", data={"csrf_token": found[1]}, headers=ana
        )
        assert answer.status_code == 200, "after it was sent on"
    assert going.status() is RunStatus.PAUSED


def test_in_pyramid(yard: Yard, going: RunHandle) -> None:
    settings = {"breakbulk.database": yard.engine, "celery.broker_url": "memory://"}
    app = TestApp(example("set_security_policy")["main"]({}, **settings))
    page = f"/breakbulk/runs/{going.id}"
    app.get(page, status=403)
    assert "may look, not steer" in app.get(page, extra_environ={"REMOTE_USER": "ben"})
    ana = {"REMOTE_USER": "ana"}
    forms = app.get(page, extra_environ=ana).forms.values()
    form = next(form for form in forms if form.action.endswith("/pause"))
    assert "paused" in form.submit(extra_environ=ana).follow(extra_environ=ana)
    assert going.status() is RunStatus.PAUSED


def test_the_policy_of_the_page(shop: None) -> None:
    access = example("OPERATORS")["access"]
    assert access({}) is None
    assert access({"REMOTE_USER": "ana"}).may_operate
    assert not access({"REMOTE_USER": "zoe"}).may_operate
