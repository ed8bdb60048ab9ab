"""The relay that makes brokers unruly: does it do what it says?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from redis import Redis

from tests.support.relay import Relay, once
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.mark.parametrize(
    ("deal", "copies"),
    [(once, 1), (lambda: (0.0, 0.0), 2), (lambda: (0.0, 0.2, 0.1), 3)],
    ids=["once", "doubled", "tripled"],
)
def test_what_is_sent_is_heard_so_many_times(
    valkey_url: str, queue_name: str, deal: Callable[[], Sequence[float]], copies: int
) -> None:
    heard_at = valkey_url.removesuffix("/0") + "/1"
    with Relay(valkey_url, heard_at, queue_name) as relay:
        relay.deal = deal
        app = Celery(set_as_current=False)
        app.conf.update(relay.settings, task_default_queue=queue_name)
        for word in ("a", "b"):
            app.send_task("say", kwargs={"word": word})
        wait_for(lambda: relay.went == 2 * copies, message="all copies to be sent on")
        app.close()
    heard: list[str] = []

    def hear(body: list[dict[str, str]], _message: object) -> None:
        heard.append(body[1]["word"])

    queue = Queue(queue_name, Exchange(queue_name), routing_key=queue_name, no_ack=True)
    with Connection(heard_at) as connection, connection.Consumer(queue, callbacks=[hear]):
        while len(heard) < 2 * copies:
            connection.drain_events(timeout=20)
    assert sorted(heard) == ["a"] * copies + ["b"] * copies
    with Redis.from_url(heard_at) as client:
        client.flushdb()
