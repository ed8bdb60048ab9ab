"""The dashboard by itself: a server for one application, closed unless somebody says who may in."""

from __future__ import annotations

import gc
import ipaddress
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

from breakbulk.app import Breakbulk
from breakbulk.app.handle import who
from breakbulk.errors import ConfigurationError
from breakbulk.web import channel
from breakbulk.web.access import AccessPolicy, LoginLink
from breakbulk.web.application import WSGIApplication, make_wsgi_app
from breakbulk.web.channel import MOST_HEADERS, ROOM

_THREADS = 8


@dataclass(frozen=True)
class Server:
    """A server that listens already, so that its address is known before it serves."""

    url: str
    _server: Any

    def run(self) -> None:
        """Serve until :meth:`close`, or Ctrl-C."""
        # What the libraries are made of stays: looking through it for garbage, now and then, takes
        # as long as a page.
        gc.collect()
        gc.freeze()
        self._server.run()

    def close(self) -> None:
        """Let go of the address; for whoever has called :meth:`run` himself, or not yet."""
        self._server.close()

    def stop(self) -> None:
        """Have :meth:`run`, in another thread, return soon; connections are cut."""
        # Whoever is woken by something else in between has stopped before it can be woken for this.
        with suppress(OSError):
            self._server.trigger.pull_trigger(self._stop)

    def _stop(self) -> None:
        # In the thread that serves, and so not in the middle of anything.
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._server._map)  # noqa: SLF001  (there is no other way to end its loop)


def make_server(
    bulk: Breakbulk,
    *,
    host: str = "127.0.0.1",
    port: int = 8440,
    access: AccessPolicy | None = None,
    title: str = "Breakbulk",
    announce: Callable[[str], None] = print,
) -> Server:
    """Listen; call :meth:`Server.run` to serve.

    Args:
        port: 0 for any that is free.
        access: who may in. Without it only this machine may, and only whoever has the link that
            is announced; each link lets in one browser, once.
        announce: called with each login link.

    Raises:
        ConfigurationError: it would be open to others without a policy, or cannot listen there.
    """
    if access is None and not _is_loopback(host):
        raise ConfigurationError(
            f"{host} can be reached by others, and nothing says who may in: give --access"
            " MODULE:FUNCTION, or serve on 127.0.0.1."
        )
    links = LoginLink(who(), lambda token: announce(f"{server.url}/login?token={token}"))
    server = listen(make_wsgi_app(bulk, access=access or links, title=title), host=host, port=port)
    if access is None:
        links.renew()
    return server


def listen(application: WSGIApplication, *, host: str, port: int) -> Server:
    """Listen for any WSGI application, within the limits of the dashboard's own.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    # Who looks too often waits; that is nothing for an operator's terminal.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        server: Any = create_server(
            application,
            host=host,
            port=port,
            threads=_THREADS,
            ident=None,
            # An application has its own limit, and says so in its own way.
            max_request_body_size=ROOM,
            max_request_header_size=MOST_HEADERS,
        )
    except OSError as error:
        raise ConfigurationError(
            f"The dashboard cannot listen on {host} port {port} ({error.strerror or error}):"
            " choose another --port."
        ) from error
    channel.adopt(server)
    # A name may stand for several addresses, with a socket each.
    several = getattr(server, "effective_listen", None)
    taken = several[0][1] if several else server.effective_port
    return Server(f"http://{_shown(host)}:{taken}", server)


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f"There is no host {host!r} to listen on.") from error
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
