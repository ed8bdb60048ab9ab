"""Endpoints: who outside is told of runs, by which secrets, and how they are doing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from breakbulk.domain.chunk import HIGHEST_ID
from breakbulk.domain.webhook import FAILS_AT_MOST, ROTATION, Answer, Endpoint, rest_after
from breakbulk.errors import WebhookNotFound
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between


class Endpoints:
    """The endpoints of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        connection: Connection,
        *,
        url: str,
        job: str | None,
        events: Iterable[str],
        secret: str,
        by: str | None,
    ) -> int:
        """Register one; its number."""
        endpoints = self._database.schema.endpoints
        statement = insert(endpoints).values(
            url=url,
            job=job,
            wants=" ".join(events) or None,
            secret=secret,
            enabled=True,
            created_at=clock(),
            created_by=by,
        )
        return int(connection.execute(statement.returning(endpoints.c.id)).scalar_one())

    def get(self, connection: Connection, endpoint_id: int) -> Endpoint:
        """One endpoint.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        endpoints = self._database.schema.endpoints
        query = self._select().where(endpoints.c.id == endpoint_id)
        known = 0 < endpoint_id <= HIGHEST_ID
        row = connection.execute(query).one_or_none() if known else None
        if row is None:
            raise WebhookNotFound(
                f"There is no endpoint {endpoint_id}; 'breakbulk webhooks list' lists them."
            )
        return _endpoint(row)

    def all(self, connection: Connection) -> list[Endpoint]:
        """Every endpoint, in the order in which they were registered."""
        query = self._select().order_by(self._database.schema.endpoints.c.id)
        return [_endpoint(row) for row in connection.execute(query)]

    def secrets(self, connection: Connection, endpoint_id: int) -> list[str]:
        """What to sign with: the secret, and for a while the one before it."""
        endpoints = self._database.schema.endpoints
        row = connection.execute(
            select(
                endpoints.c.secret,
                case((endpoints.c.old_secret_until > clock(), endpoints.c.old_secret)).label("old"),
            ).where(endpoints.c.id == endpoint_id)
        ).one()
        return [row.secret] if row.old is None else [row.secret, row.old]

    def rotate(self, connection: Connection, endpoint_id: int, secret: str) -> None:
        """Sign with another secret, and for a day with the one before it, too."""
        endpoints = self._database.schema.endpoints
        connection.execute(
            update(endpoints)
            .where(endpoints.c.id == endpoint_id)
            .values(secret=secret, old_secret=endpoints.c.secret, old_secret_until=clock(ROTATION))
        )

    def enable(self, connection: Connection, endpoint_id: int) -> None:
        """Send to it again, as if it had never failed."""
        self._change(connection, endpoint_id, enabled=True, reason=None, **_WELL)

    def disable(self, connection: Connection, endpoint_id: int, reason: str) -> None:
        """Send nothing to it any more. What waits for it goes on waiting."""
        self._change(connection, endpoint_id, enabled=False, reason=reason)

    def remove(self, connection: Connection, endpoint_id: int) -> None:
        """Take it away, with its deliveries."""
        schema = self._database.schema
        mine = select(schema.deliveries.c.id).where(schema.deliveries.c.endpoint_id == endpoint_id)
        connection.execute(delete(schema.tries).where(schema.tries.c.delivery_id.in_(mine)))
        connection.execute(
            delete(schema.deliveries).where(schema.deliveries.c.endpoint_id == endpoint_id)
        )
        connection.execute(delete(schema.endpoints).where(schema.endpoints.c.id == endpoint_id))

    def went_well(self, connection: Connection, endpoint_id: int) -> None:
        """Note that it has answered; nothing is written where nothing had failed."""
        endpoints = self._database.schema.endpoints
        connection.execute(
            update(endpoints)
            .where(endpoints.c.id == endpoint_id, endpoints.c.failing_since.is_not(None))
            .values(**_WELL)
        )

    def went_wrong(self, connection: Connection, endpoint_id: int, answer: Answer) -> str | None:
        """Note a failed try and leave it alone for a while; why it is switched off, if it is."""
        endpoints = self._database.schema.endpoints
        row = connection.execute(
            update(endpoints)
            .where(endpoints.c.id == endpoint_id)
            .values(
                failures=endpoints.c.failures + 1,
                failing_since=func.coalesce(endpoints.c.failing_since, clock()),
            )
            .returning(
                endpoints.c.enabled,
                endpoints.c.failures,
                seconds_between(endpoints.c.failing_since, clock()).label("seconds"),
            )
        ).one_or_none()
        if row is None or not row.enabled:
            return None
        rest = clock(rest_after(row.failures, answer))
        self._change(connection, endpoint_id, rests_until=rest)
        reason = None
        if answer.gone:
            reason = "the receiver answered 410 Gone: it wants no more"
        elif row.seconds >= FAILS_AT_MOST:
            days = int(row.seconds // 86_400)
            last = answer.error or f"it answered {answer.code}"
            reason = f"every try has failed for {days} days; the last one: {last}"
        if reason is not None:
            self.disable(connection, endpoint_id, reason)
        return reason

    def due(self, connection: Connection, busy: Iterable[int]) -> list[int]:
        """Endpoints for which something is due, except those that somebody is at."""
        schema = self._database.schema
        endpoints, deliveries = schema.endpoints, schema.deliveries
        due_at = next_of(
            deliveries, deliveries.c.not_before, deliveries.c.endpoint_id == endpoints.c.id
        )
        query = (
            select(endpoints.c.id)
            .where(
                endpoints.c.enabled,
                or_(endpoints.c.rests_until.is_(None), endpoints.c.rests_until <= clock()),
                endpoints.c.id.not_in(list(busy)),
                due_at <= clock(),
            )
            # Whoever has failed lately comes last.
            .order_by(endpoints.c.failures, endpoints.c.id)
        )
        return list(connection.execute(query).scalars())

    def _change(self, connection: Connection, endpoint_id: int, **values: Any) -> None:
        endpoints = self._database.schema.endpoints
        connection.execute(update(endpoints).where(endpoints.c.id == endpoint_id).values(**values))

    def _select(self) -> Any:
        endpoints = self._database.schema.endpoints
        secret = {"secret", "old_secret", "old_secret_until"}
        rotates = case(
            (endpoints.c.old_secret_until > clock(), endpoints.c.old_secret_until)
        ).label("rotates_until")
        return select(*(one for one in endpoints.c if one.name not in secret), rotates)


_WELL = {"failures": 0, "failing_since": None, "rests_until": None}


def next_of(deliveries: Any, column: ColumnElement[Any], receiver: ColumnElement[bool]) -> Any:
    """A column of the delivery that a receiver is to be sent next, due or not, as a subquery.

    One entry of the index, however many wait: a clock that moves cannot be looked up in it, so a
    search for what is due would read all that is not. The order names the receiver, too, or the
    planner does not see that it is the index's where it is none.
    """
    return (
        select(column)
        .where(receiver, deliveries.c.ended_at.is_(None))
        .order_by(deliveries.c.endpoint_id, deliveries.c.not_before)
        .limit(1)
        .scalar_subquery()
    )


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(
        id=row.id,
        url=row.url,
        job=row.job,
        events=tuple((row.wants or "").split()),
        enabled=row.enabled,
        reason=row.reason,
        failures=row.failures,
        failing_since=row.failing_since,
        rests_until=row.rests_until,
        rotates_until=row.rotates_until,
        created_at=row.created_at,
        created_by=row.created_by,
    )
