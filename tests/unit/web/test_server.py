"""How much the server takes, and where it may be reached."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import Breakbulk
from breakbulk.errors import ConfigurationError
from breakbulk.web.channel import ROOM
from breakbulk.web.server import listen, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Say how much was sent."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(environ["wsgi.input"].read())).encode()]


@pytest.fixture
def port() -> Iterator[int]:
    server = listen(echo, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield int(server.url.rpartition(":")[2])
    server.stop()
    thread.join()


@pytest.mark.parametrize(
    ("body", "header", "status"),
    [
        (ROOM - 1, 0, 200),
        (ROOM + 1, 0, 413),
        (0, 30_000, 200),
        (0, 40_000, 431),
    ],
)
def test_what_is_too_large_is_refused(port: int, body: int, header: int, status: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/", b"x" * body, {"X-Long": "x" * header})
        answer = connection.getresponse()
        assert answer.status == status
        answer.read()
    finally:
        connection.close()


def test_what_says_not_how_large_it_is_is_measured(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        pieces = (b"x" * 1024 for _ in range(ROOM // 1024 + 2))
        connection.request("POST", "/", pieces, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_nobody_else_can_reach_it_without_a_policy(host: str) -> None:
    with pytest.raises(ConfigurationError, match="nothing says who may in"):
        make_server(Breakbulk("sqlite://"), host=host, port=0)
