"""The demo's shop in the hands of a person: the button, the progress, the banner, the dashboard."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pyramid.paster import get_appsettings

from breakbulk.demo import place
from breakbulk.demo.shop import main
from breakbulk.demo.shop.security import DOOR
from breakbulk.demo.warehouse import fill
from breakbulk.runner import inline
from breakbulk.web import LoginLink
from breakbulk.web.server import listen
from tests.browser.conftest import listen as note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from breakbulk import Breakbulk

_PRODUCTS = 20_000


class Shop:
    """The shop on a server of its own; a test says when workers work.

    Args:
        directory: where its files are.
    """

    def __init__(self, directory: Path) -> None:
        file = directory / "demo.ini"
        url = f"sqlite:///{directory / 'shop.sqlite'}"
        place.write(file, database=url, broker="memory://", chunk_size=500)
        app = main({}, **get_appsettings(str(file)))
        self.bulk: Breakbulk = app.registry["breakbulk"]
        self.engine = app.registry["dbsession_factory"].kw["bind"]
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        self.bulk.upgrade()
        fill(self.engine, _PRODUCTS, lambda _count: None)
        self._tokens: list[str] = []
        app.registry[DOOR] = LoginLink("ana", self._tokens.append)
        app.registry[DOOR].renew()
        self._server = listen(app, host="127.0.0.1", port=0)
        self._threads = [threading.Thread(target=self._server.run)]
        self._threads[0].start()

    @property
    def link(self) -> str:
        """Lets in one browser."""
        return f"{self._server.url}/login?token={self._tokens[-1]}"

    def work(self, run: int) -> None:
        """Have somebody work until the run is over."""
        given: Any = (
            self.bulk.runtime,
            self.bulk.run(run).record(),
            lambda _link, _run, _key: None,
        )
        self._threads.append(threading.Thread(target=inline.work_until_over, args=given))
        self._threads[-1].start()

    def close(self) -> None:
        """End it."""
        for thread in self._threads[1:]:
            thread.join()
        self._server.stop()
        self._threads[0].join()
        self.engine.dispose()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.close()


@pytest.fixture
def here(browser: Browser, shop: Shop, trouble: list[str]) -> Iterator[Page]:
    """A tab with the shop's page; it must not have complained when the test ends."""
    context = browser.new_context()
    page = context.new_page()
    note(page, trouble)
    page.goto(shop.link)
    yield page
    context.close()
    assert not trouble, trouble


def test_the_button_moves_all_and_leads_to_the_dashboard(shop: Shop, here: Page) -> None:
    here.evaluate("document.body.dataset.mine = 'the same page'")
    here.get_by_role("button", name="Process the whole warehouse").click()
    expect(here.get_by_role("progressbar")).to_have_attribute("value", "0")
    here.evaluate("document.body.dataset.mine = 'the same page'")
    shop.work(1)
    expect(here.locator("progress:not([value='0'])").or_(here.locator(".banner"))).to_be_visible(
        timeout=60_000
    )
    banner = here.locator(".banner")
    expect(banner).to_contain_text("20,000 products processed in 40 chunks", timeout=60_000)
    expect(banner).to_contain_text("version 1: 20,000 products")
    assert here.evaluate("document.body.dataset.mine") == "the same page"
    expect(here.locator("tbody tr").last).to_contain_text("1 time")
    here.get_by_role("link", name="Run 1 in the dashboard").click()
    expect(here.locator(".headline .status")).to_have_text("succeeded")


@pytest.mark.thorough
def test_progress_is_seen_as_it_goes_on(shop: Shop, here: Page) -> None:
    here.get_by_role("button").click()
    run = shop.bulk.run(1)
    here.get_by_role("link", name="Watch and steer run 1").click()
    here.get_by_role("button", name="Pause").click()
    expect(here.locator(".headline .status")).to_have_text("paused")
    here.goto(shop.link.partition("/login")[0])
    expect(here.locator(".status")).to_have_text("paused")
    run.cancel(by="ben", reason="<img src=x onerror='window.hacked=1'>")
    expect(here.locator("#live")).to_contain_text("<img src=x", timeout=30_000)
    assert here.evaluate("window.hacked") is None


def test_without_a_script_the_page_looks_again_by_itself(shop: Shop, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shop.link)
    page.get_by_role("button").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    shop.work(1)
    expect(page.locator(".banner")).to_contain_text("20,000 products", timeout=60_000)
    assert page.locator("noscript meta, meta[http-equiv=refresh]").count() == 0
    context.close()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("dark", 390),
        pytest.param("light", 1280, marks=pytest.mark.thorough),
        pytest.param("light", 390, marks=pytest.mark.thorough),
        pytest.param("dark", 1280, marks=pytest.mark.thorough),
    ],
)
def test_it_is_accessible_and_fits(shop: Shop, browser: Browser, scheme: Any, width: int) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()

    def judge() -> None:
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.goto(shop.link.partition("/login")[0])
    judge()
    page.goto(shop.link)
    judge()
    page.get_by_role("button").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    judge()
    shop.work(1)
    expect(page.locator(".banner")).to_be_visible(timeout=60_000)
    judge()
    context.close()
