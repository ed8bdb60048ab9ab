"""Brokers that lose everything, go away, or deliver what they have as they please."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from kombu import Connection, Queue
from redis import Redis

from breakbulk.domain.status import FINISHED
from tests.support.fault import Fault, fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from tests.support.arena import Arena
    from tests.support.proxy import Proxy
    from tests.support.sight import Sight
    from tests.support.workers import Worker

#: What Celery itself says of a broker that is away.
CELERY = (
    *("consumer: Cannot connect", "Connection to broker lost", "Unrecoverable error"),
    "Couldn't ack",
)
#: So many messages are treated badly in one bout.
_MESSAGES = 4
#: No message arrives later than that, in seconds.
_LATE = 3.0


@fault()
def a_flushed_broker(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Somebody empties Redis, and with it what was sent and what was on its way."""
    with Redis.from_url(arena.stage.config.broker) as client:
        client.flushall()
    yield ()
    run = arena.runs[-1]
    arena.until(
        lambda: arena.stage.lanes() > 1 or run.status() in FINISHED,
        message="lanes in the place of those that were on their way",
    )


def a_rabbit_away(seconds: float, url: str, way: Proxy) -> Fault:
    """RabbitMQ that is away for so long; it is shared, so it is the way there that is broken."""

    @fault(complaints=CELERY)
    def a_rabbit_that_comes_back_empty(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        """A node that was not part of a cluster is replaced."""
        way.down()
        yield ()
        time.sleep(seconds)  # that long it is away
        with Connection(url) as connection:
            Queue(arena.stage.config.queue)(connection.channel()).purge()
        way.up()
        _until_back(arena)

    return a_rabbit_that_comes_back_empty


def a_broker_away(seconds: float) -> Fault:
    """A broker that is away for so long."""

    @fault(complaints=CELERY, breaks={"valkey"})
    def a_broker_that_comes_back_empty(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        """The broker's machine fails, and another one takes its place that knows of nothing."""
        assert arena.valkey is not None
        arena.valkey.stop("immediate")
        yield ()
        time.sleep(seconds)  # that long it is away
        arena.valkey.start()
        _until_back(arena)

    return a_broker_that_comes_back_empty


@fault(breaks={"messages"})
def doubled_messages(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Every message arrives twice."""
    yield from _treated(arena, lambda: (0.0, 0.0))


@fault(breaks={"messages"})
def late_messages(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Messages take their time, each its own, so that they overtake each other."""
    yield from _treated(arena, lambda: (arena.dice.uniform(0.0, _LATE),))


@fault(breaks={"messages"})
def lost_messages(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Messages never arrive."""
    yield from _treated(arena, tuple)


def _until_back(arena: Arena) -> None:
    """Wait until the workers have found the broker, and start those again that have not."""
    for worker in list(arena.fleet.members):
        # Kombu 5.7 may end a worker that holds messages from Redis when the connection is lost.
        arena.until(partial(_is_back, worker), message=f"{worker.name} to be back")
    arena.fleet.replenish()


def _is_back(worker: Worker) -> bool:
    # A frozen one, in a mix, is still to be woken: by the fault that froze it, after this one.
    return worker.log().count("Connected to ") > 1 or not worker.running or worker.frozen


def _treated(arena: Arena, deal: Callable[[], Sequence[float]]) -> Iterator[Collection[int]]:
    """Treat a few messages like that, then all others well again."""
    relay = arena.relay
    assert relay is not None
    came, good = relay.came, relay.deal
    relay.deal = deal
    yield ()
    run = arena.runs[-1]
    arena.until(
        lambda: relay.came >= came + _MESSAGES or run.status() in FINISHED,
        message="messages to come, or the run to end",
    )
    relay.deal = good


MESSAGES = (a_flushed_broker, doubled_messages, late_messages, lost_messages)
ALL = (*MESSAGES, a_broker_away(3))
