"""Fixtures of a real browser, the system's Chromium, on a dashboard that really serves."""

from __future__ import annotations

import shutil
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from sqlalchemy import insert, update

from breakbulk.ledger.sql import clock
from breakbulk.web import Access, make_wsgi_app
from tests.integration.runner.test_rescue import held
from tests.support import servers
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog, Page

    from breakbulk import RunHandle

_ROWS = 250
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


#: A browser that sends it is nobody's.
NOBODY = "X-Nobody"


def _access(environ: Mapping[str, Any]) -> Access | None:
    return None if "HTTP_X_NOBODY" in environ else Access("ana", "operate")


class _Server(ThreadingMixIn, WSGIServer):
    """A server that ends when it is told to, unlike one that is made to go on for ever."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        servers.missing("browser", "Chromium is not installed (Debian's package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """Goods and a ledger in a file, where a server's threads may read, too."""
    made = Yard(f"sqlite:///{tmp_path / 'yard.sqlite'}", rows=_ROWS)
    yield made
    made.close()


@pytest.fixture
def site(yard: Yard) -> Iterator[str]:
    """Where the dashboard is, for an operator."""
    app: Any = make_wsgi_app(yard.bulk, access=_access)
    server = make_server("127.0.0.1", 0, app, _Server, _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="dashboard")
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def trouble() -> list[str]:
    """What the browser complained about: errors of scripts, and what the policy has stopped."""
    return []


@pytest.fixture
def page(browser: Browser, site: str, trouble: list[str]) -> Iterator[Page]:
    """A tab that knows the site; it must not have complained when the test ends."""
    context = browser.new_context(base_url=site)
    opened = context.new_page()
    listen(opened, trouble)
    yield opened
    context.close()
    assert not trouble, trouble


def listen(page: Page, trouble: list[str]) -> None:
    """Note whatever a page complains about; questions are answered with yes."""

    def answer(dialog: Dialog) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.accept()

    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("dialog", answer)
    page.on(
        "console",
        lambda message: trouble.append(message.text) if message.type == "error" else None,
    )


def assert_accessible(page: Page, width: int) -> None:
    """What is shown has no violation that axe knows of, and fits."""
    found = Axe().run(page)
    assert found.violations_count == 0, f"{page.url}: {found.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


@pytest.fixture
def paced(yard: Yard) -> RunHandle:
    """A run that has gone on for a minute, with a pace and with failures to be drawn."""
    handle = yard.submit(yard.job(name="a.paced"))
    held(yard, handle, yard.lane(handle))
    schema = yard.ledger.database.schema
    runs, failures = schema.runs, schema.failures
    own: dict[str, Any] = {"run_id": handle.id}
    with yard.transaction() as connection:
        began = {"submitted_at": clock(-61), "started_at": clock(-60)}
        connection.execute(update(runs).where(runs.c.id == handle.id).values(**began))
        for second in range(60):
            done = {"lane": 0, "chunks": 0, "rows": 1 + second % 3, "at": clock(second - 60)}
            connection.execute(insert(schema.tallies).values(**own, **done))
        for ago in (40, 20):
            what = {"number": 1, "path": "", "attempt": 1, "error": "shop.Trouble", "message": "no"}
            added = insert(failures).values(**own, **what, round=1, at=clock(-ago))
            failure_id = connection.execute(added.returning(failures.c.id)).scalar_one()
            counted = {"error": "shop.Trouble", "attempts": 2, "chunks": 1}
            when = {"first_at": clock(-ago), "last_at": clock(-ago), "failure_id": failure_id}
            connection.execute(insert(schema.failure_tallies).values(**own, **counted, **when))
    return handle
