"""Deliveries: what waits to be sent, who is at it, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Column, Connection, Row, delete, exists, insert, select, update

from breakbulk.domain.chunk import HIGHEST_ID, RunId
from breakbulk.domain.event import LinkKind
from breakbulk.domain.storable import storable
from breakbulk.domain.webhook import Answer, Delivery, DeliveryStatus, Event, Try
from breakbulk.errors import WebhookNotFound
from breakbulk.ledger.database import Database
from breakbulk.ledger.endpoints import next_of
from breakbulk.ledger.paging import newest_first
from breakbulk.ledger.sql import clock

#: Of the events that are shown of a run, taken together.
_DELIVERIES = 200
_ANSWER_LIMIT, _ERROR_LIMIT = 500, 500


@dataclass(frozen=True, slots=True)
class Order:
    """A delivery in somebody's hands.

    Attributes:
        owner: the fence: whoever knows the token may say what came of it, nobody else.
        tries: how many there are, with this one.
        endpoint_id: where to; None for a link.
        now: the database's time.
        payload: the message, as it is signed.
        signature: of a link, the Celery signature as text.
    """

    id: int
    owner: UUID
    tries: int
    endpoint_id: int | None
    run_id: int
    message_id: str
    now: datetime
    payload: str
    signature: str | None


class Deliveries:
    """The deliveries of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def any_open(self, connection: Connection) -> bool:
        """Whether anything is to be sent at all, now or later: nearly always it is not."""
        deliveries = self._database.schema.deliveries
        question = exists().where(deliveries.c.ended_at.is_(None))
        return bool(connection.execute(select(question)).scalar_one())

    def links_due(self, connection: Connection) -> bool:
        """Whether a link is due."""
        deliveries = self._database.schema.deliveries
        due_at = next_of(deliveries, deliveries.c.not_before, deliveries.c.endpoint_id.is_(None))
        return bool(connection.execute(select(due_at <= clock())).scalar_one())

    def claim(
        self, connection: Connection, endpoint_id: int | None, lease_seconds: float
    ) -> Order | None:
        """Take what has been due longest for an endpoint, or of the links; None: nothing is.

        The try is on record before it begins. Whoever dies at it lets it be due again when the
        claim runs out.
        """
        schema = self._database.schema
        deliveries = schema.deliveries
        where = (
            deliveries.c.endpoint_id.is_(None)
            if endpoint_id is None
            else deliveries.c.endpoint_id == endpoint_id
        )
        owner = uuid4()
        taken = connection.execute(
            update(deliveries)
            .where(
                deliveries.c.id == next_of(deliveries, deliveries.c.id, where),
                # Asked of the row itself: somebody may have taken it while we waited for it.
                deliveries.c.ended_at.is_(None),
                deliveries.c.not_before <= clock(),
            )
            .values(owner=owner, not_before=clock(lease_seconds), tries=deliveries.c.tries + 1)
            .returning(deliveries.c.id)
        ).scalar_one_or_none()
        if taken is None:
            return None
        row = connection.execute(
            select(
                deliveries.c.tries,
                deliveries.c.run_id,
                schema.events.c.message_id,
                schema.events.c.payload,
                schema.links.c.signature,
                clock().label("now"),
            )
            .join(schema.events, schema.events.c.id == deliveries.c.event_id)
            .outerjoin(schema.links, schema.links.c.id == deliveries.c.link_id)
            .where(deliveries.c.id == taken)
        ).one()
        return Order(
            id=taken,
            owner=owner,
            tries=row.tries,
            endpoint_id=endpoint_id,
            run_id=row.run_id,
            message_id=row.message_id,
            now=row.now,
            payload=row.payload,
            signature=row.signature,
        )

    def note(
        self, connection: Connection, order: Order, answer: Answer, *, wait: float | None
    ) -> bool:
        """Write down what came of a try; False when the delivery is in other hands by now.

        Args:
            wait: seconds until the next try, where this one has failed; None: there is none.
        """
        schema = self._database.schema
        deliveries = schema.deliveries
        values: dict[str, Any] = {"owner": None}
        if answer.delivered:
            values |= {"status": str(DeliveryStatus.DELIVERED), "ended_at": clock()}
        elif wait is None:
            values |= {"status": str(DeliveryStatus.FAILED), "ended_at": clock()}
        else:
            values["not_before"] = clock(wait)
        noted = connection.execute(
            update(deliveries)
            .where(deliveries.c.id == order.id, deliveries.c.owner == order.owner)
            .values(values)
        )
        if noted.rowcount != 1:
            return False
        connection.execute(
            insert(schema.tries).values(
                delivery_id=order.id,
                at=clock(),
                code=answer.code,
                milliseconds=answer.milliseconds,
                answer=None if answer.text is None else storable(answer.text, _ANSWER_LIMIT),
                error=None if answer.error is None else storable(answer.error, _ERROR_LIMIT),
            )
        )
        return True

    def page(
        self,
        connection: Connection,
        *,
        run_id: int | None = None,
        endpoint_id: int | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Deliveries, newest first, those before the one with that number."""
        deliveries = self._database.schema.deliveries
        of: dict[Column[Any], Any] = {}
        if run_id is not None:
            of[deliveries.c.run_id] = run_id
        elif endpoint_id is not None:
            of[deliveries.c.endpoint_id] = endpoint_id
        query = self._select().limit(limit)
        if of:
            query = newest_first(query, deliveries.c.id, of, before)
        else:
            query = query.order_by(deliveries.c.id.desc())
            query = query if before is None else query.where(deliveries.c.id < before)
        if run_id is not None and endpoint_id is not None:
            query = query.where(deliveries.c.endpoint_id == endpoint_id)
        return [_delivery(row, row.type, row.message_id) for row in connection.execute(query)]

    def events(self, connection: Connection, run_id: RunId, limit: int) -> list[Event]:
        """What is told of a run, newest first, and how far it has got."""
        schema = self._database.schema
        events, deliveries = schema.events, schema.deliveries
        query = select(events.c.id, events.c.type, events.c.at, events.c.message_id)
        query = newest_first(query, events.c.id, {events.c.run_id: run_id}).limit(limit)
        told = {row.id: row for row in connection.execute(query)}
        sent: dict[int, list[Delivery]] = {number: [] for number in told}
        if told:
            # Without the events, which are known: joined, they would all be read.
            of_these = deliveries.c.event_id.in_(list(told))
            found = select(deliveries).where(of_these).order_by(deliveries.c.id)
            for row in connection.execute(found.limit(_DELIVERIES)):
                event = told[row.event_id]
                sent[event.id].append(_delivery(row, event.type, event.message_id))
        return [Event(n, row.type, row.at, tuple(sent[n])) for n, row in told.items()]

    def get(self, connection: Connection, delivery_id: int) -> Delivery:
        """One delivery.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        deliveries = self._database.schema.deliveries
        query = self._select().where(deliveries.c.id == delivery_id)
        known = 0 < delivery_id <= HIGHEST_ID
        row = connection.execute(query).one_or_none() if known else None
        if row is None:
            raise WebhookNotFound(
                f"There is no delivery {delivery_id}; 'breakbulk webhooks deliveries' lists them."
            )
        return _delivery(row, row.type, row.message_id)

    def payload(self, connection: Connection, delivery_id: int) -> str:
        """What is sent, as JSON."""
        schema = self._database.schema
        query = (
            select(schema.events.c.payload)
            .join(schema.deliveries, schema.deliveries.c.event_id == schema.events.c.id)
            .where(schema.deliveries.c.id == delivery_id)
        )
        return str(connection.execute(query).scalar_one())

    def tries(self, connection: Connection, delivery_id: int) -> list[Try]:
        """The tries at one delivery, in order."""
        tries = self._database.schema.tries
        query = select(*(tries.c[name] for name in Try.__dataclass_fields__))
        query = query.where(tries.c.delivery_id == delivery_id).order_by(tries.c.id)
        return [Try(**row) for row in connection.execute(query).mappings()]

    def sweep(self, connection: Connection, keep_seconds: float, most: int) -> int:
        """Throw away events older than that with all that belongs to them; how many events."""
        schema = self._database.schema
        events, deliveries, tries = schema.events, schema.deliveries, schema.tries
        # Asked once: a clock that moves is nothing to look up in an index.
        edge = select(clock(-keep_seconds)).scalar_subquery()
        old = list(
            connection.execute(
                select(events.c.id).where(events.c.at < edge).order_by(events.c.at).limit(most)
            ).scalars()
        )
        if old:
            links = schema.links
            sent = select(deliveries.c.link_id).where(
                deliveries.c.event_id.in_(old), deliveries.c.link_id.is_not(None)
            )
            mine = select(deliveries.c.id).where(deliveries.c.event_id.in_(old))
            # Those that wait for a run's end belong to the run.
            connection.execute(
                delete(links).where(links.c.kind == str(LinkKind.SENT), links.c.id.in_(sent))
            )
            connection.execute(delete(tries).where(tries.c.delivery_id.in_(mine)))
            connection.execute(delete(deliveries).where(deliveries.c.event_id.in_(old)))
            connection.execute(delete(events).where(events.c.id.in_(old)))
        return len(old)

    def _select(self) -> Any:
        schema = self._database.schema
        deliveries, events = schema.deliveries, schema.events
        return select(
            deliveries.c.id,
            events.c.type,
            events.c.message_id,
            deliveries.c.run_id,
            deliveries.c.endpoint_id,
            deliveries.c.status,
            deliveries.c.tries,
            deliveries.c.not_before,
            deliveries.c.created_at,
            deliveries.c.ended_at,
        ).join(events, events.c.id == deliveries.c.event_id)


def _delivery(row: Row[Any], event: str, message_id: str) -> Delivery:
    return Delivery(
        id=row.id,
        event=event,
        message_id=message_id,
        run=row.run_id,
        endpoint=row.endpoint_id,
        status=DeliveryStatus(row.status),
        tries=row.tries,
        not_before=row.not_before,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
