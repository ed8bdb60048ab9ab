"""Reading an iterable into the ledger: its items in batches, and the lease of whoever reads it.

The items of a batch and the note of how far the iterable has been read commit together. The note
is what the next batch asks for first: it is this producer's still, and it stands where he left
it. Whoever was declared dead, or whose last batch a crash of the database has undone, finds out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from breakbulk.domain.chunk import RunId
from breakbulk.domain.items import NO_ITEMS
from breakbulk.domain.keys import Key, decode_key
from breakbulk.domain.status import RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock


@dataclass(frozen=True, slots=True)
class Producer:
    """Who reads an iterable: a token of its own for each submit, and the process it runs in."""

    token: UUID
    host: str
    pid: int
    process_started: float


@dataclass(frozen=True, slots=True)
class Load:
    """How far the iterable of a run has been read.

    Attributes:
        producer: who reads it; None when nobody does.
        items: so many are in the ledger.
        digest: the hash of all of them.
        error: what ended it early.
        ended: it has been read to its end.
        expired: the producer's lease has run out.
    """

    run_id: RunId
    producer: Producer | None
    items: int
    digest: str
    error: str | None
    ended: bool
    expired: bool


class Loads:
    """The loads of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, connection: Connection, run_id: RunId, producer: Producer, lease_seconds: float
    ) -> None:
        """Note that somebody is about to read a run's iterable."""
        connection.execute(
            insert(self._database.schema.loads).values(
                run_id=run_id, digest=NO_ITEMS, **_lease(producer, lease_seconds)
            )
        )

    def get(self, connection: Connection, run_id: RunId) -> Load | None:
        """How far a run's iterable has been read; None where it has none."""
        found = self._read(connection, self._database.schema.loads.c.run_id == run_id)
        return found[0] if found else None

    def item(self, connection: Connection, run_id: RunId, number: int) -> str:
        """One item that is there, as JSON text."""
        text = self.find_item(connection, run_id, number)
        assert text is not None
        return text

    def find_item(self, connection: Connection, run_id: RunId, number: int) -> str | None:
        """One item, as JSON text; None where there is none of that number."""
        items = self._database.schema.items
        query = select(items.c.value).where(items.c.run_id == run_id, items.c.number == number)
        return connection.execute(query).scalar_one_or_none()

    def take(
        self, connection: Connection, found: Load, producer: Producer, lease_seconds: float
    ) -> bool:
        """Go on with an iterable in another's place.

        Returns:
            False when somebody else does by now, or he has been heard from after all.
        """
        loads = self._database.schema.loads
        token = None if found.producer is None else found.producer.token
        result = connection.execute(
            update(loads)
            .where(
                loads.c.run_id == found.run_id,
                loads.c.producer.is_not_distinct_from(token),
                loads.c.loaded == found.items,
                loads.c.ended_at.is_(None),
                self._silent(),
            )
            .values(error=None, **_lease(producer, lease_seconds))
        )
        return result.rowcount == 1

    def append(
        self,
        connection: Connection,
        run_id: RunId,
        token: UUID,
        texts: Sequence[str],
        *,
        after: int,
        digest: str,
        lease_seconds: float,
    ) -> bool:
        """Store the next items; False when it is not this producer's turn, or not at this place.

        Args:
            after: how many there are before these.
            digest: the hash of all items, these included.
        """
        loads = self._database.schema.loads
        result = connection.execute(
            update(loads)
            .where(loads.c.run_id == run_id, loads.c.producer == token, loads.c.loaded == after)
            .values(loaded=after + len(texts), digest=digest, lease_until=clock(lease_seconds))
        )
        if result.rowcount != 1:
            return False
        connection.execute(
            self._insert(), {"run": run_id, "after": after, "texts": json.dumps(texts)}
        )
        return True

    def extend(
        self, connection: Connection, run_id: RunId, token: UUID, lease_seconds: float
    ) -> bool:
        """Show that the producer lives; False when it is not its turn any more."""
        loads = self._database.schema.loads
        result = connection.execute(
            update(loads)
            .where(loads.c.run_id == run_id, loads.c.producer == token)
            .values(lease_until=clock(lease_seconds))
        )
        return result.rowcount == 1

    def end(self, connection: Connection, run_id: RunId, token: UUID, items: int) -> bool:
        """Note that the iterable has been read to its end; call it with the carve row locked."""
        loads = self._database.schema.loads
        result = connection.execute(
            update(loads)
            .where(loads.c.run_id == run_id, loads.c.producer == token, loads.c.loaded == items)
            .values(ended_at=clock(), producer=None)
        )
        return result.rowcount == 1

    def drop(
        self,
        connection: Connection,
        run_id: RunId,
        token: UUID | None,
        *,
        error: str | None,
        silent: bool = False,
    ) -> Load | None:
        """Note that nobody reads the iterable any more; call it with the carve row locked.

        Args:
            token: only if it is this one still who should.
            error: what has ended it.
            silent: only if he has not been heard from meanwhile.

        Returns:
            How far it had got; None when somebody else is at it, or he is after all.
        """
        loads = self._database.schema.loads
        mine = [
            loads.c.run_id == run_id,
            loads.c.producer.is_not_distinct_from(token),
            loads.c.ended_at.is_(None),
        ]
        if silent:
            mine.append(self._silent())
        values: dict[str, Any] = {"producer": None}
        if error is not None:
            values["error"] = error
        if connection.execute(update(loads).where(*mine).values(values)).rowcount != 1:
            return None
        return self.get(connection, run_id)

    def reach(self, connection: Connection, run_id: RunId) -> tuple[Key | None, bool]:
        """Up to where a run can be carved now, and whether that is its end.

        One statement, that sees both at one time: else the last items might come between.
        """
        runs, loads, items = self._tables()
        last = select(func.max(items.c.number)).where(items.c.run_id == run_id).scalar_subquery()
        row = connection.execute(
            select(loads.c.ended_at.is_not(None).label("ended"), runs.c.until, last.label("last"))
            .join(runs, runs.c.id == loads.c.run_id)
            .where(loads.c.run_id == run_id)
        ).one()
        if row.ended:
            return (None if row.until is None else decode_key(row.until)), True
        return (None if row.last is None else (int(row.last),)), False

    def lost(self, connection: Connection, judge: UUID, lease_seconds: float) -> list[Load]:
        """What nobody reads any more of runs that are loading.

        Args:
            judge: a worker that must have been heard from itself, without a gap, for a whole
                lease, up to this moment.
        """
        runs, loads, _ = self._tables()
        himself = self._database.schema.workers.alias("judge")
        healthy = exists().where(
            himself.c.id == judge,
            himself.c.healthy_since <= clock(-lease_seconds),
            himself.c.lease_until >= clock(),
        )
        # From the few runs that load, not from every iterable that was ever read.
        loading = select(runs.c.id).where(
            runs.c.finished_at.is_(None), runs.c.status == str(RunStatus.LOADING)
        )
        return self._read(
            connection,
            loads.c.run_id.in_(loading),
            or_(loads.c.producer.is_(None), (loads.c.lease_until < clock()) & healthy),
        )

    def _silent(self) -> ColumnElement[bool]:
        # In the statement that acts on it: a look before that may be as old as a wait for a lock,
        # or as a database that stalled.
        loads = self._database.schema.loads
        return or_(loads.c.producer.is_(None), loads.c.lease_until < clock())

    def _read(self, connection: Connection, *where: ColumnElement[bool]) -> list[Load]:
        loads = self._database.schema.loads
        expired = (loads.c.lease_until < clock()).label("expired")
        return [_load(row) for row in connection.execute(select(loads, expired).where(*where))]

    def _tables(self) -> tuple[Any, Any, Any]:
        schema = self._database.schema
        return schema.runs, schema.loads, schema.items

    def _insert(self) -> Any:
        # One statement of unchanging text, whatever the number of items.
        items = self._database.schema.items.fullname
        if self._database.is_postgresql:
            return text(
                f"INSERT INTO {items} (run_id, number, value)"  # noqa: S608  (our own schema)
                " SELECT :run, :after + i.place, i.value"
                " FROM json_array_elements_text(CAST(:texts AS json))"
                " WITH ORDINALITY AS i (value, place)"
            )
        return text(
            f"INSERT INTO {items} (run_id, number, value)"  # noqa: S608  (our own schema)
            " SELECT :run, :after + key + 1, value FROM json_each(:texts)"
        )


def _lease(producer: Producer, seconds: float) -> dict[str, Any]:
    return {
        "producer": producer.token,
        "host": producer.host,
        "pid": producer.pid,
        "process_started": producer.process_started,
        "lease_until": clock(seconds),
    }


def _load(row: Row[Any]) -> Load:
    producer = None
    if row.producer is not None:
        producer = Producer(row.producer, row.host, row.pid, row.process_started)
    return Load(
        run_id=RunId(row.run_id),
        producer=producer,
        items=row.loaded,
        digest=row.digest,
        error=row.error,
        ended=row.ended_at is not None,
        expired=bool(row.expired),
    )
