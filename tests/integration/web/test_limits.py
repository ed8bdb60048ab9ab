"""How much may be sent, byte by byte over a real socket: every refusal is problem details."""

from __future__ import annotations

import json
import socket
import threading
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from webtest import TestApp

from breakbulk.web import make_wsgi_app
from breakbulk.web.channel import MOST_HEADERS, ROOM
from breakbulk.web.protection import MOST_BODY
from breakbulk.web.server import listen
from tests.integration.web.conftest import access

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.support.yard import Yard

_RUNS = "/api/v1/runs"


@pytest.fixture
def yard(sqlite_yard: Yard) -> Yard:
    """Nothing here depends on the database."""
    return sqlite_yard


@pytest.fixture
def token(yard: Yard) -> str:
    return yard.bulk.tokens.create("deployer", can="operate").text


@pytest.fixture
def port(yard: Yard) -> Iterator[int]:
    """The dashboard as ``breakbulk serve`` serves it."""
    server = listen(make_wsgi_app(yard.bulk, access=access), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield int(server.url.rpartition(":")[2])
    server.stop()
    thread.join()


@pytest.fixture
def elsewhere(yard: Yard) -> Iterator[int]:
    """The same in a host whose server has no limits."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = make_server(
        "127.0.0.1", 0, make_wsgi_app(yard.bulk, access=access), handler_class=Quiet
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def exchange(port: int, *pieces: bytes) -> tuple[int, str, Any]:
    """Send bytes, all of them, and then read the answer: its status, its type, its JSON."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = HTTPResponse(connection)
        answer.begin()
        body = answer.read()
    kind = answer.headers.get_content_type()
    return answer.status, kind, json.loads(body) if kind.endswith("json") else body


def head(token: str, *lines: str, method: str = "POST", path: str = _RUNS) -> bytes:
    """First line and headers."""
    known = ["Host: here", f"Authorization: Bearer {token}", "Content-Type: application/json"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *known, *lines, "", ""]).encode()


def chunked(size: int, piece: int = 8_192) -> Iterable[bytes]:
    """A body of that many bytes, in pieces."""
    for _ in range(size // piece):
        yield b"%x\r\n%b\r\n" % (piece, b"x" * piece)
    yield b"0\r\n\r\n"


def refused(found: tuple[int, str, Any], status: int, kind: str) -> str:
    """It is a problem of that kind; what it says."""
    code, media, known = found
    assert (code, media) == (status, "application/problem+json"), found
    assert known["type"] == f"urn:breakbulk:problem:{kind}"
    assert known["status"] == status
    detail: str = known["detail"]
    return detail


# One that the application refuses, one that the server does, and one of which the most never
# arrives before the answer.
@pytest.mark.parametrize("size", [MOST_BODY + 1, ROOM + 1, 20_000_000])
def test_a_body_that_is_too_large(port: int, token: str, size: int) -> None:
    found = exchange(port, head(token, f"Content-Length: {size}"), b"x" * size)
    assert refused(found, 413, "request-too-large") == (
        "A request has at most 65,536 bytes, and this one has more."
    )


@pytest.mark.parametrize("size", [MOST_BODY + 8_192, ROOM + 65_536, 2_000_000])
def test_a_body_in_pieces_that_is_too_large(port: int, token: str, size: int) -> None:
    found = exchange(port, head(token, "Transfer-Encoding: chunked"), *chunked(size))
    refused(found, 413, "request-too-large")


def test_a_body_that_is_only_announced(port: int, token: str) -> None:
    found = exchange(port, head(token, "Content-Length: 99999999999"))
    refused(found, 413, "request-too-large")


def test_a_body_just_small_enough(port: int, token: str) -> None:
    body = b'{"job": "nothing"}'
    body += b" " * (MOST_BODY - len(body))
    found = exchange(port, head(token, f"Content-Length: {len(body)}"), body)
    refused(found, 422, "unknown-job")


def test_headers_that_are_too_large(port: int, token: str) -> None:
    room = MOST_HEADERS - len(head(token, "X-Long: "))
    status, _, known = exchange(port, head(token, "X-Long: " + "x" * (room - 1), method="GET"))
    assert (status, known["items"]) == (200, [])
    found = exchange(port, head(token, "X-Long: " + "x" * (room + 1)))
    assert refused(found, 431, "headers-too-large").startswith("Address and headers have less than")
    refused(exchange(port, head(token, "X-Long: " + "x" * 1_000_000)), 431, "headers-too-large")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"GET /api/v1/runs HTTP/1.1\r\nHost here\r\n\r\n", 400),
        (b"get /api/v1/runs HTTP/1.1\r\n\r\n", 400),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"POST /api/v1/runs HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /api/v1/runs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", 400),
        (b"POST /api/v1/runs HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_is_no_http(port: int, lines: bytes, status: int) -> None:
    found = exchange(port, lines)
    detail = refused(found, status, "unreadable-request")
    assert detail.endswith(".")
    assert "waitress" not in json.dumps(found[2])


def test_an_application_that_breaks(yard: Yard) -> None:
    def broken(_environ: Any, _start: Any) -> Iterable[bytes]:
        raise RuntimeError("a secret of the house")

    server = listen(broken, host="localhost", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        found = exchange(int(server.url.rpartition(":")[2]), head("none"))
    finally:
        server.stop()
        thread.join()
    assert "secret" not in refused(found, 500, "internal-error")


def test_a_host_whose_server_has_no_limits(elsewhere: int, token: str) -> None:
    found = exchange(elsewhere, head(token, "Content-Length: 99999999999"))
    refused(found, 413, "request-too-large")


def test_pages_that_would_be_too_large(yard: Yard, token: str) -> None:
    run = yard.run().id
    app = TestApp(make_wsgi_app(yard.bulk, access=access))
    app.authorization = ("Bearer", token)
    document = app.get("/api/v1/openapi.json").json
    lists = [
        path
        for path, known in document["paths"].items()
        if "parameters/limit" in json.dumps(known.get("get")).lower()
    ]
    assert len(lists) >= 5, lists
    for path in lists:
        found = app.get(f"/api/v1{path.format(run=run)}?limit=101", expect_errors=True)
        assert found.json["errors"][0] == {
            "detail": "It must be at most 100",
            "parameter": "limit",
        }, path
