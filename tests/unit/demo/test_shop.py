"""The demo's shop as a browser sees it; runs are worked on when a request commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyramid.paster import get_appsettings
from webtest import TestApp

from breakbulk.demo import place
from breakbulk.demo.shop import main
from breakbulk.demo.shop.security import DOOR
from breakbulk.demo.warehouse import Notice, build, fill
from breakbulk.runner import inline
from breakbulk.web import LoginLink
from tests.integration.web.conftest import one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyramid.router import Router

_PRODUCTS = 1_250


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Router]:
    """The shop as its demo makes it, but without a broker, and with an empty warehouse."""
    file = tmp_path / "demo.ini"
    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    place.write(file, database=url, broker="memory://", chunk_size=500)
    settings = get_appsettings(str(file))
    app = main({}, **settings, **{"celery.task_always_eager": "true"})
    engine = app.registry["dbsession_factory"].kw["bind"]
    app.registry["breakbulk"].upgrade()
    build(engine)
    yield app
    engine.dispose()


@pytest.fixture
def links(shop: Router) -> list[str]:
    """The tokens of the links that the demo shows."""
    shown: list[str] = []
    shop.registry[DOOR] = LoginLink("ana", shown.append)
    shop.registry[DOOR].renew()
    return shown


@pytest.fixture
def browser(shop: Router, links: list[str]) -> TestApp:
    """A browser that came by a link."""
    app = TestApp(shop)
    page = app.get(f"/login?token={links[-1]}").follow()
    assert "<title>The warehouse</title>" in page
    return app


def stock(shop: Router) -> None:
    fill(shop.registry["dbsession_factory"].kw["bind"], _PRODUCTS, lambda _count: None)


def session_of(shop: Router) -> Any:
    return shop.registry["dbsession_factory"]()


@pytest.mark.parametrize("path", ["/", "/live", "/breakbulk/", "/breakbulk/runs/1"])
def test_it_is_closed_to_whoever_has_no_link(shop: Router, links: list[str], path: str) -> None:
    page = TestApp(shop).get(path, status=401)
    assert "Open the link that the demo has shown last" in page


def test_each_link_lets_in_one_browser(shop: Router, browser: TestApp, links: list[str]) -> None:
    assert len(links) == 2
    TestApp(shop).get(f"/login?token={links[0]}", status=401)
    TestApp(shop).get("/login", status=401)


def test_a_worker_that_serves_nobody_has_no_door(shop: Router) -> None:
    TestApp(shop).get("/", status=401)


def test_while_it_is_filled_it_says_so(browser: TestApp) -> None:
    page = browser.get("/")
    assert "is being filled" in page
    assert not page.html.select("button")
    assert page.html.select_one("noscript meta[http-equiv=refresh]")


def test_the_button_processes_all_and_the_banner_says_so(shop: Router, browser: TestApp) -> None:
    stock(shop)
    page = browser.get("/")
    assert "not yet" in page
    for times in (1, 2):
        page = page.forms[0].submit().follow()
        banner = one(page, ".banner").text
        assert "1,250 products processed in 3 chunks" in banner
        assert f"version {times}: 1,250 products" in banner
    assert not page.html.select("noscript meta"), "nothing moves"
    link = str(one(page, "form a")["href"])
    assert link == "http://localhost/breakbulk/runs/2"
    assert "succeeded" in browser.get(link)
    with session_of(shop) as session:
        assert session.query(Notice).count() == 2
    (_later, first) = shop.registry["breakbulk"].runs()
    assert first.submitted_by == "ana"


def test_a_run_that_goes_on_is_shown_and_not_started_again(shop: Router, browser: TestApp) -> None:
    stock(shop)
    page = browser.get("/")
    registry = shop.registry
    registry["breakbulk"].celery.conf.task_always_eager = False
    first = page.forms[0].submit().follow()
    assert one(first, "progress")["value"] == "0"
    assert "no worker is running" in first
    assert not first.html.select("button")
    assert first.html.select_one("noscript meta[http-equiv=refresh]")
    page.forms[0].submit()
    assert len(registry["breakbulk"].runs()) == 1


def test_a_run_that_was_given_up_is_told(shop: Router, browser: TestApp) -> None:
    stock(shop)
    page = browser.get("/")
    bulk = shop.registry["breakbulk"]
    bulk.celery.conf.task_always_eager = False
    page.forms[0].submit()
    handle = bulk.run(1)
    handle.cancel(by="ben", reason="<b>not today</b>")
    inline.work_until_over(bulk.runtime, handle.record(), lambda _link, _run, _key: None)
    page = browser.get("/")
    assert one(page, ".banner").text.strip() == "Run 1 is cancelled. <b>not today</b>"
    assert page.html.select("button")


def test_the_button_needs_its_token(shop: Router, browser: TestApp) -> None:
    stock(shop)
    browser.post("/process", status=400)
    assert not shop.registry["breakbulk"].runs()


def test_what_has_not_changed_is_not_sent_again(shop: Router, browser: TestApp) -> None:
    stock(shop)
    first = browser.get("/live")
    assert "<html" not in first.text
    browser.get("/live", headers={"If-None-Match": first.headers["ETag"]}, status=304)
    browser.get("/").forms[0].submit()
    again = browser.get("/live", headers={"If-None-Match": first.headers["ETag"]})
    assert "is processed" in again


def test_nothing_but_its_own_scripts_run(browser: TestApp) -> None:
    page = browser.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert all(script["src"] for script in page.html.select("script"))
    assert not page.html.select("[style], [onclick]")
