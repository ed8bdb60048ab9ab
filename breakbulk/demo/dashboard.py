"""The dashboard beside the demo: a server in a thread, gone when the demo ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from breakbulk import Breakbulk
from breakbulk.demo.screen import Screen
from breakbulk.errors import ConfigurationError
from breakbulk.web.server import Server, make_server

_PORT = 8440
_TITLE = "Breakbulk demo"


@contextmanager
def dashboard(bulk: Breakbulk, screen: Screen) -> Iterator[str]:
    """Serve meanwhile; the address. The links that let a browser in are said on the screen."""

    def announce(link: str) -> None:
        screen.say("dashboard", f"  dashboard {link}", link=link)

    server = _listen(bulk, announce)
    thread = threading.Thread(target=server.run, name="breakbulk-dashboard", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()


def _listen(bulk: Breakbulk, announce: Callable[[str], None]) -> Server:
    try:
        return make_server(bulk, port=_PORT, title=_TITLE, announce=announce)
    except ConfigurationError:
        # Another demo has it, or somebody else: any port will do.
        return make_server(bulk, port=0, title=_TITLE, announce=announce)
