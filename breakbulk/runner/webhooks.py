"""What an operator may do about webhooks: register endpoints, look at them, and send again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from breakbulk.domain.address import Allowed
from breakbulk.domain.event import PING, EventType, payload_of
from breakbulk.domain.webhook import Answer, Delivery, Endpoint, Try, new_message_id, new_secret
from breakbulk.errors import EndpointRefused, StateError
from breakbulk.ledger.sql import clock
from breakbulk.runner import post
from breakbulk.runner.guard import Guard
from breakbulk.runner.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Registered:
    """An endpoint with its secret, which nobody is shown again.

    Attributes:
        endpoint: as it is registered.
        secret: what the receiver needs to verify what it is sent.
    """

    endpoint: Endpoint
    secret: str

    def __repr__(self) -> str:
        # It may end in a log.
        return f"<Registered endpoint {self.endpoint.id}>"


@dataclass(frozen=True, slots=True)
class DeliveryLog:
    """A delivery with all that is known of it.

    Attributes:
        delivery: where it stands.
        payload: what is sent, as JSON text.
        tries: each try, in order.
    """

    delivery: Delivery
    payload: str
    tries: tuple[Try, ...]


def register(
    runtime: Runtime,
    connection: Connection,
    url: str,
    *,
    job: str | None,
    events: Iterable[str],
    by: str,
) -> Registered:
    """Register an endpoint.

    Raises:
        ConfigurationError: what is needed to post is not installed.
        EndpointRefused: nothing may be sent to that URL, or there is no such event.
    """
    post.need()
    wanted = list(dict.fromkeys(str(one) for one in events))
    known = [str(one) for one in EventType]
    if unknown := [one for one in wanted if one not in known]:
        raise EndpointRefused(f"There is no event {unknown[0]!r}; there are {', '.join(known)}.")
    # Before any lock: it asks for the host's addresses.
    _guard(runtime).check(url)
    secret = new_secret()
    endpoints = runtime.ledger.endpoints
    with runtime.database.transaction(connection):
        sealed = runtime.vault.seal_text(secret)
        number = endpoints.add(connection, url=url, job=job, events=wanted, secret=sealed, by=by)
        return Registered(endpoints.get(connection, number), secret)


def rotate(runtime: Runtime, connection: Connection, endpoint_id: int) -> Registered:
    """Give an endpoint another secret; the one before signs, too, for a day.

    Raises:
        WebhookNotFound: there is no such endpoint.
    """
    secret = new_secret()
    endpoints = runtime.ledger.endpoints
    with runtime.database.transaction(connection):
        endpoints.get(connection, endpoint_id)
        endpoints.rotate(connection, endpoint_id, runtime.vault.seal_text(secret))
        return Registered(endpoints.get(connection, endpoint_id), secret)


def ping(runtime: Runtime, connection: Connection, endpoint_id: int) -> Answer:
    """Send a message that tells of nothing, now and from here; what came back.

    Raises:
        ConfigurationError: what is needed to post is not installed, or the secret is sealed with
            another key.
        WebhookNotFound: there is no such endpoint.
    """
    post.need()
    endpoints = runtime.ledger.endpoints
    with runtime.database.reading(connection):
        endpoint = endpoints.get(connection, endpoint_id)
        stored = endpoints.secrets(connection, endpoint_id)
        now = connection.execute(select(clock())).scalar_one()
    return post.post(
        _guard(runtime),
        endpoint.url,
        [runtime.vault.open_text(one) for one in stored],
        message_id=new_message_id(),
        now=now,
        payload=json.dumps(payload_of(PING, now, {"endpoint": endpoint_id})),
    )


def replay(runtime: Runtime, connection: Connection, delivery_id: int) -> Delivery:
    """Send an event once more to the one whom a delivery was for; the new delivery.

    Raises:
        WebhookNotFound: there is no such delivery.
        StateError: it still waits, or its endpoint is switched off.
    """
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        delivery = ledger.deliveries.get(connection, delivery_id)
        if delivery.ended_at is None:
            raise StateError(
                f"Delivery {delivery_id} still waits: it is tried again by itself, at"
                f" {delivery.not_before:%Y-%m-%d %H:%M:%S} UTC."
            )
        if delivery.endpoint is not None:
            endpoint = ledger.endpoints.get(connection, delivery.endpoint)
            if not endpoint.enabled:
                raise StateError(
                    f"Endpoint {endpoint.id} is switched off: 'breakbulk webhooks enable"
                    f" {endpoint.id}' first."
                )
        number = ledger.outbox.again(connection, delivery_id)
        return ledger.deliveries.get(connection, number)


def _guard(runtime: Runtime) -> Guard:
    return Guard(Allowed.parse(runtime.settings.webhook_allow))
