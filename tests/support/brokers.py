"""Brokers as one test finds them: no messages of other tests in them."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from amqp.exceptions import NotFound
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
