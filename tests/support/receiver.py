"""Somebody outside who is sent webhooks: a real HTTP server in this process."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Message:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """The payload, if the signature is right."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Reply:
    """What is answered."""

    status: int = 204
    headers: dict[str, str] | None = None
    body: bytes = b""


class Receiver:
    """Keeps what it is sent.

    Args:
        port: 0 for any.
    """

    def __init__(self, port: int = 0) -> None:
        self.received: list[Message] = []
        #: Says what to answer; it may take its time.
        self.reply: Callable[[Message], Reply] = lambda _message: Reply()
        #: Where to write the answer by hand, byte by byte.
        self.by_hand: Callable[[Any], None] | None = None
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                message = Message(self.path, headers, body)
                with receiver._lock:
                    receiver.received.append(message)
                if receiver.by_hand is not None:
                    receiver.by_hand(self.wfile)
                    return
                reply = receiver.reply(message)
                self.send_response(reply.status)
                for name, value in (reply.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None: ...

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to post to."""
        return f"http://127.0.0.1:{self.port}/in"

    def events(self, secret: str) -> list[str]:
        """The types of what was received, verified."""
        return [one.verified(secret)["type"] for one in list(self.received)]

    def close(self) -> None:
        """Be gone."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver for a while."""
    made = Receiver(port)
    try:
        yield made
    finally:
        made.close()
