"""Sending to brokers that are there, and do not answer: it never takes long."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from breakbulk import Breakbulk
from breakbulk.errors import BrokerUnreachable
from tests.support.waiting import SLACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mute() -> Iterator[int]:
    """Port of a server that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        for connection in accepted:
            connection.close()


@pytest.mark.parametrize(
    "scheme", ["redis", "amqp", "pyamqp", pytest.param("sqs", marks=pytest.mark.thorough)]
)
def test_a_broker_that_only_accepts_is_given_up_soon(
    scheme: str, mute: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    app = Celery("mute", broker=f"{scheme}://127.0.0.1:{mute}//", set_as_current=False)
    bulk = Breakbulk(f"sqlite:///{tmp_path / 'ledger.sqlite'}", celery=app)
    assert bulk.broker is not None
    began = time.monotonic()
    assert not bulk.broker.send_lanes("celery", 3)
    assert time.monotonic() - began < SLACK
    with pytest.raises(BrokerUnreachable, match="does not answer"):
        bulk.broker.ping()
    assert time.monotonic() - began < 2 * SLACK
    app.close()
