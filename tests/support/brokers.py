"""Brokers as one test finds them: no messages of other tests in them."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Connection, Exchange, Queue
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def empty_redis(url: str) -> Iterator[str]:
    """Empty the Redis or Valkey database of ``url`` and yield the URL."""
    with Redis.from_url(url) as client:
        client.flushdb()
    yield url


@contextmanager
def clean_amqp(url: str, queue: str) -> Iterator[str]:
    """Yield ``url``; afterwards delete the queue and the exchange called ``queue``."""
    yield url
    with Connection(url) as connection:
        # Channels of their own, for RabbitMQ closes the one that asked for what is not there.
        for entity in (Queue(queue), Exchange(queue)):
            with suppress(NotFound):
                entity(connection.channel()).delete()


def type_of_queue(url: str, queue: str) -> str:
    """What RabbitMQ says a queue is: ``classic`` or ``quorum``.

    Raises:
        NotFound: there is no such queue.
    """
    with Connection(url) as connection:
        channel: Any = connection.channel()
        channel.queue_declare(queue, passive=True)
        wanted = {"x-queue-type": "quorum"}
        try:
            # What is there already may only be asked for as what it is.
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=wanted)
        except PreconditionFailed as refusal:
            (found,) = re.findall(r"current is '(\w+)'", str(refusal)) or ["classic"]
            return str(found)
        return "quorum"
