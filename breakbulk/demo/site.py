"""The shop and its dashboard on the web: a server in a thread, gone when the demo ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyramid.router import Router

from breakbulk.app.handle import who
from breakbulk.demo.screen import Screen
from breakbulk.demo.shop.security import DOOR
from breakbulk.errors import ConfigurationError
from breakbulk.web import LoginLink
from breakbulk.web.server import Server, listen

_PORT = 8440
_HOST = "127.0.0.1"


@contextmanager
def site(shop: Router, screen: Screen) -> Iterator[Callable[[], str]]:
    """Serve meanwhile; what gives the link that lets the next browser in.

    Each is said on the screen, too, as soon as there is one.
    """
    links: list[str] = []

    def announce(token: str) -> None:
        links.append(f"{server.url}/login?token={token}")
        screen.say("shop", f"  shop      {links[-1]}", link=links[-1])

    server = _listen(shop)
    shop.registry[DOOR] = door = LoginLink(who(), announce)
    door.renew()
    thread = threading.Thread(target=server.run, name="breakbulk-shop", daemon=True)
    thread.start()
    try:
        yield lambda: links[-1]
    finally:
        server.stop()
        thread.join()


def _listen(shop: Router) -> Server:
    try:
        return listen(shop, host=_HOST, port=_PORT)
    except ConfigurationError:
        # Another demo has it, or somebody else: any port will do.
        return listen(shop, host=_HOST, port=0)
