"""A relay between the broker that messages are sent to and the one that workers hear.

Celery lets an application send by one broker and listen at another. What lies between them here
doubles messages, holds them up, or loses them, as brokers do at times: real messages of real
brokers, and nothing of it in the application.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from kombu import Connection, Consumer, Exchange, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOOK_SECONDS = 0.02


def once() -> Sequence[float]:
    """As if there were no relay."""
    return (0.0,)


class Relay:
    """Carries messages.

    Args:
        sent_to: URL of the broker that the application sends to.
        heard_at: URL of the broker that its workers listen at.
        queue: which messages.
    """

    def __init__(self, sent_to: str, heard_at: str, queue: str) -> None:
        self.sent_to, self.heard_at = sent_to, heard_at
        #: Asked for each message: after how many seconds each copy of it is to arrive.
        self.deal: Callable[[], Sequence[float]] = once
        #: Messages that came in, copies that went out, and messages that were not simply passed on.
        self.came = self.went = self.unusual = 0
        self._queue = Queue(queue, Exchange(queue, type="direct"), routing_key=queue)
        self._held: list[tuple[float, int, Any, dict[str, Any]]] = []
        self._order = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def settings(self) -> dict[str, Any]:
        """Celery's settings of an application whose messages it carries."""
        return {"broker_write_url": self.sent_to, "broker_read_url": self.heard_at}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            with Connection(self.sent_to) as source, Connection(self.heard_at) as target:
                try:
                    self._carry(source, target)
                except (*source.connection_errors, *target.connection_errors):
                    # A broker is away: what it had is lost, as it may be.
                    self._stop.wait(_LOOK_SECONDS)

    def _carry(self, source: Connection, target: Connection) -> None:
        producer = target.Producer()
        consumer = Consumer(source.channel(), [self._queue], callbacks=[self._take])
        with consumer:
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    source.drain_events(timeout=_LOOK_SECONDS)
                while self._held and self._held[0][0] <= time.monotonic():
                    _due, _order, body, properties = heapq.heappop(self._held)
                    producer.publish(body, **properties)
                    self.went += 1

    def _take(self, body: Any, message: Any) -> None:
        self.came += 1
        self.unusual += self.deal is not once
        for seconds in self.deal():
            properties = {
                "exchange": self._queue.exchange,
                "routing_key": self._queue.routing_key,
                "declare": [self._queue],
                "headers": message.headers,
                "correlation_id": message.properties["correlation_id"],
                "serializer": "json",
            }
            due = time.monotonic() + seconds
            heapq.heappush(self._held, (due, next(self._order), body, properties))
        message.ack()
