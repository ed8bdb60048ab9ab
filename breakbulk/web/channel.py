"""What the server itself refuses, before any application sees it, said as the API says it.

waitress answers what it cannot read, and what is too large for it, with a line of plain text, and
closes a connection on which the rest of a body is still coming; the system then resets it, and the
answer is lost with it (seen with a body of 10 MB). Here it is problem details, and what still comes
is taken and thrown away for a while, so that whoever sends it gets to read why.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask

from breakbulk.web.api import problems
from breakbulk.web.api.contract import PROBLEM
from breakbulk.web.protection import HEADERS, MOST_BODY, TOO_LARGE

#: First line and headers of a request, in bytes.
MOST_HEADERS = 32 * 1024
#: Up to here the server takes a body for an application to refuse; it stays in memory. Bytes.
ROOM = 8 * MOST_BODY
#: What is thrown away at most of what still comes, in bytes.
_PATIENCE = 32 * 1024 * 1024

_KINDS = {
    400: (problems.UNREADABLE, "It is not HTTP/1.1 as the standard has it."),
    413: (problems.TOO_LARGE, TOO_LARGE),
    431: (
        problems.HEADERS,
        f"Address and headers have less than {MOST_HEADERS:,} bytes together, and these have more.",
    ),
    500: (problems.BROKEN, "The server's log says what it was."),
    501: (problems.UNREADABLE, "The only Transfer-Encoding that is understood is chunked."),
}


class Refusal(ErrorTask):
    """Tells what the server has refused."""

    def execute(self) -> None:
        """Write the answer; the connection ends with it."""
        error: Any = self.request.error  # type: ignore[attr-defined]
        kind, detail = _KINDS.get(error.code, _KINDS[400])
        known = problems.details(kind, detail, status=error.code)
        self.status = f"{error.code} {error.reason}"
        headers = {"Content-Type": PROBLEM, "Cache-Control": "no-store", **HEADERS}
        self.response_headers = list(headers.items())
        self.set_close_on_finish()
        self.content_length = len(known)
        if isinstance(self.channel, Channel):
            self.channel.refused = True
        self.write(known)


class Channel(HTTPChannel):
    """A connection whose last answer arrives even if nobody wanted the rest of the question."""

    error_task_class = Refusal
    #: The server has answered before it had read everything.
    refused = False
    _thrown_away: int | None = None

    def handle_close(self) -> None:
        """Close, or first say that nothing more is sent, and take what comes."""
        first = self._thrown_away is None
        if first and self.refused and self.will_close and self.socket is not None:
            self._thrown_away, self.will_close = 0, False
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()

    def received(self, data: bytes) -> bool:
        """Take what has come."""
        if self._thrown_away is None:
            return bool(super().received(data))
        self._thrown_away += len(data)
        if self._thrown_away > _PATIENCE:
            super().handle_close()
        return False


def adopt(server: Any) -> None:
    """Have a server's connections be of our kind, on each of the addresses it listens at."""
    # There is one object for each address, and for several of them one more that has them.
    for one in [server, *getattr(server, "map", {}).values()]:
        if isinstance(one, BaseWSGIServer):
            one.channel_class = Channel
