"""Fixtures of a real browser, the system's Chromium, on a dashboard that really serves."""

from __future__ import annotations

import shutil
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from playwright.sync_api import sync_playwright

from breakbulk.web import Access, make_wsgi_app
from tests.support import servers
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog, Page

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
    app: Any = make_wsgi_app(yard.bulk, access=lambda _environ: Access("ana", "operate"))
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
