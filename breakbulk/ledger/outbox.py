"""The outbox: events are written in the transaction that makes them true, if anybody wants them.

Whether somebody does is told by the statement that changes the run, so a run that nobody outside
asks for costs no statement more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, exists, func, insert, or_, select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.event import (
    OUTGOING,
    EventType,
    LinkKind,
    data_of,
    link_of,
    payload_of,
)
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED
from breakbulk.domain.webhook import DeliveryStatus, new_message_id
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock


class Outbox:
    """The outbox of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def wanted(self, run_id: RunId | None = None) -> ColumnElement[bool]:
        """Whether anybody may want to be told, as an expression for ``RETURNING``.

        Args:
            run_id: whose links count, too.
        """
        endpoints, links = self._database.schema.endpoints, self._database.schema.links
        registered = exists().where(endpoints.c.enabled)
        if run_id is None:
            return registered
        return or_(registered, exists().where(links.c.run_id == run_id))

    def link(self, connection: Connection, run_id: RunId, links: Iterable[tuple[str, str]]) -> None:
        """Keep a run's links: of each its kind, and the signature as text."""
        rows = [
            {"run_id": run_id, "kind": kind, "signature": signature} for kind, signature in links
        ]
        if rows:
            connection.execute(insert(self._database.schema.links), rows)

    def send(self, connection: Connection, run: Run, signatures: Iterable[str]) -> None:
        """Have Celery signatures sent once this transaction has committed: at least once each.

        Args:
            signatures: as text, as links are kept.
        """
        texts = list(signatures)
        if not texts:
            return
        schema, count = self._database.schema, len(texts)
        kind = str(LinkKind.SENT)
        links = [{"run_id": run.id, "kind": kind, "signature": text} for text in texts]
        payload = json.dumps({"type": OUTGOING, "data": {"run": run.id}})
        events = [
            {"run_id": run.id, "type": OUTGOING, "message_id": new_message_id(), "payload": payload}
            for _ in range(count)
        ]
        link_ids = self._numbers(connection, schema.links, links)
        event_ids = self._numbers(connection, schema.events, events, at=clock())
        deliveries = [
            {"event_id": event, "run_id": run.id, "link_id": link}
            for event, link in zip(event_ids, link_ids, strict=True)
        ]
        connection.execute(insert(schema.deliveries).values(**_fresh()), deliveries)

    @staticmethod
    def _numbers(
        connection: Connection, table: Table, rows: list[dict[str, Any]], **values: Any
    ) -> list[int]:
        """Insert rows in one statement; the numbers they were given, in their order."""
        written = insert(table).values(**values) if values else insert(table)
        ordered = written.returning(table.c.id, sort_by_parameter_order=True)
        return list(connection.execute(ordered, rows).scalars())

    def tell(self, connection: Connection, run: Run, event: EventType, at: datetime) -> None:
        """Write down what has happened to a run, for everybody who wants to know.

        The end of a round tells of the rows that it has put in quarantine, too.
        """
        rows = 0
        if run.status in FINISHED and run.summary is not None and run.summary.rows_quarantined:
            rows = self._quarantined(connection, run)
        if rows:
            self._write(connection, run, EventType.QUARANTINED, at, [], quarantined=rows)
        links = []
        if run.status in FINISHED:
            links = self._links(connection, run.id, link_of(run.status))
        self._write(connection, run, event, at, links)

    def again(self, connection: Connection, delivery_id: int) -> int:
        """Have a delivery made once more, as another one of the same event; its number."""
        old = self._database.schema.deliveries
        found = connection.execute(select(old).where(old.c.id == delivery_id)).one()
        columns = ("event_id", "run_id", "endpoint_id", "link_id")
        values = {name: getattr(found, name) for name in columns}
        row = connection.execute(insert(old).values(**values, **_fresh()).returning(old.c.id)).one()
        return int(row.id)

    def _write(
        self,
        connection: Connection,
        run: Run,
        event: EventType,
        at: datetime,
        links: list[int],
        **more: int,
    ) -> None:
        endpoints = self._endpoints(connection, run.job, event)
        if not endpoints and not links:
            return
        schema = self._database.schema
        written = insert(schema.events).values(
            run_id=run.id,
            type=str(event),
            at=at,
            message_id=new_message_id(),
            payload=json.dumps(payload_of(event, at, data_of(run, **more))),
        )
        event_id = connection.execute(written.returning(schema.events.c.id)).scalar_one()
        receivers = [(one, None) for one in endpoints] + [(None, one) for one in links]
        connection.execute(
            insert(schema.deliveries).values(
                [
                    {
                        "event_id": event_id,
                        "run_id": run.id,
                        "endpoint_id": endpoint,
                        "link_id": link,
                        **_fresh(),
                    }
                    for endpoint, link in receivers
                ]
            )
        )

    def _endpoints(self, connection: Connection, job: str, event: EventType) -> list[int]:
        endpoints = self._database.schema.endpoints
        query = select(endpoints.c.id, endpoints.c.wants).where(
            endpoints.c.enabled, or_(endpoints.c.job.is_(None), endpoints.c.job == job)
        )
        rows = connection.execute(query.order_by(endpoints.c.id))
        return [row.id for row in rows if row.wants is None or str(event) in row.wants.split()]

    def _links(self, connection: Connection, run_id: RunId, kind: LinkKind) -> list[int]:
        links = self._database.schema.links
        query = select(links.c.id).where(links.c.run_id == run_id, links.c.kind == str(kind))
        return list(connection.execute(query.order_by(links.c.id)).scalars())

    def _quarantined(self, connection: Connection, run: Run) -> int:
        rows = self._database.schema.quarantine
        query = select(func.count()).where(rows.c.run_id == run.id, rows.c.round == run.round)
        return int(connection.execute(query).scalar_one())


def _fresh() -> dict[str, object]:
    return {"status": str(DeliveryStatus.WAITING), "not_before": clock(), "created_at": clock()}
