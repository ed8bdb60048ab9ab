"""Nothing is sent to where it must not go, whatever a name means by now."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from breakbulk import Breakbulk
from breakbulk.errors import (
    EndpointRefused,
)
from tests.support.posting import Post
from tests.support.receiver import Receiver, receiver
from tests.support.yard import Yard


def test_a_name_that_means_something_else_by_now(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was public when it was registered may be inside when it is connected to."""
    asked: list[str] = []
    lies = ["1.1.1.1"]

    def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (lies[0], port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    plain = Yard(yard.engine, shared=True)
    registered = plain.bulk.webhooks.add(f"https://evil.test:{outside.port}/in")
    lies[0] = "127.0.0.1"
    plain.submit(plain.job())
    mine = Post(plain)
    mine.clear()
    assert not outside.received
    (log,) = (plain.bulk.webhooks.delivery(one.id) for one in plain.bulk.webhooks.deliveries())
    assert log.tries[0].error is not None
    assert "127.0.0.1, which is not a public address" in log.tries[0].error
    assert "not a public address" in (plain.bulk.webhooks.test(registered.endpoint.id).error or "")
    assert set(asked) == {"evil.test"}
    plain.close()


def test_what_is_connected_to_is_what_was_looked_at(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is asked for once; whatever it would mean the next time is nobody's business."""
    given = iter([["127.0.0.1"], ["127.0.0.1"], ["10.66.66.66"]])
    looked_up = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host != "hooks.test":
            return looked_up(host, port, *args, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(given)]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    yard.bulk.webhooks.add(f"http://hooks.test:{outside.port}/in", events=["run.submitted"])
    yard.submit(yard.job())
    sends.clear()
    assert len(outside.received) == 1
    assert outside.received[0].headers["host"] == f"hooks.test:{outside.port}"
    assert next(given) == ["10.66.66.66"], "not asked for again"


def test_no_proxy_of_the_environment_is_asked(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
        yard.submit(yard.job())
        sends.clear()
        assert not proxy.received
    assert len(outside.received) == 1


def test_an_endpoint_inside_is_refused(yard: Yard) -> None:
    bulk = Breakbulk(yard.engine)
    for url in ("https://127.0.0.1/", "https://localhost/", "https://[::1]/", "http://10.0.0.1/"):
        with pytest.raises(EndpointRefused, match="which is not a public address"):
            bulk.webhooks.add(url)
    assert not yard.rows_of("endpoints")
