"""Taking a run that has ended out of the ledger, a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Table, and_, delete, exists, func, or_, select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.runs import run_of
from breakbulk.ledger.sql import clock

#: Rows a transaction: short, so that no lane waits for SQLite's only writer, and no snapshot of
#: PostgreSQL grows old.
BATCH: Final = 5_000

#: Tables that have up to as many rows of a run as it has chunks or items, by their numbers.
NUMBERED: Final = ("chunks", "items", "results", "item_states")
#: Likewise, found by their ids.
LISTED: Final = (
    "failures",
    "quarantine",
    "deliveries",
    "events",
    "activity",
    "allowances",
    "sizes",
)
#: Few of each, or as many as a run takes seconds. The carve row is the last: it is the lock.
FEW: Final = (
    "waiting",
    "tallies",
    "failure_tallies",
    "throttles",
    "stays",
    "links",
    "loads",
    "carves",
)


class Pruning:
    """What is pruned, and how. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def old(
        self,
        connection: Connection,
        *,
        seconds: float,
        job: str | None,
        statuses: frozenset[RunStatus],
        above: RunId | None,
        limit: int,
    ) -> list[Run]:
        """Runs that ended so long ago, and those whose pruning broke off; in order, by pages.

        Args:
            above: the last one of the page before.
        """
        runs = self._database.schema.runs
        since = select(clock(-seconds)).scalar_subquery()
        broken_off = runs.c.status == str(RunStatus.PRUNING)
        # Asked as the index of what has ended has it: there may be many that go on.
        aged = and_(
            runs.c.finished_at.is_not(None),
            runs.c.finished_at <= since,
            runs.c.status.in_([str(status) for status in sorted(statuses & FINISHED)]),
        )
        where = [or_(aged, and_(runs.c.finished_at.is_not(None), broken_off))]
        if job is not None:
            where.append(runs.c.job == job)
        if above is not None:
            where.append(runs.c.id > above)
        query = select(runs).where(*where).order_by(runs.c.id).limit(limit)
        return [run_of(row) for row in connection.execute(query)]

    def needed(self, connection: Connection, run: Run) -> str | None:
        """Why a run that has ended is still needed, as the rest of "it was left: "; else None."""
        schema, run_id = self._database.schema, run.id
        lanes, runs, deliveries = schema.lanes, schema.runs, schema.deliveries
        if connection.execute(select(exists().where(lanes.c.run_id == run_id))).scalar():
            return "its last lane has not left yet"
        behind = select(runs.c.id).where(runs.c.finished_at.is_(None), runs.c.waits_for == run_id)
        waiting = connection.execute(behind.limit(1)).scalar()
        if waiting is not None:
            return f"run {waiting} stands behind it"
        if run.releases is not None:
            # The message with its value may be lost, and then this is where it is found.
            follower = exists().where(
                runs.c.id == run.releases, runs.c.awaits, runs.c.finished_at.is_(None)
            )
            if connection.execute(select(follower)).scalar():
                return f"run {run.releases} awaits what came of it"
        due = select(exists().where(deliveries.c.run_id == run_id, deliveries.c.ended_at.is_(None)))
        if connection.execute(due).scalar():
            return "somebody is still to be told of its end"
        return None

    def forget_key(self, connection: Connection, run_id: RunId) -> None:
        """Free a run's idempotency key, so that the next submit with it is not led to a ruin."""
        runs = self._database.schema.runs
        connection.execute(runs.update().where(runs.c.id == run_id).values(idempotency_key=None))

    def standing(self, connection: Connection, run_id: RunId) -> bool:
        """Lock the run's carve row, and say whether it is still there."""
        carves = self._database.schema.carves
        query = select(carves.c.run_id).where(carves.c.run_id == run_id)
        if self._database.is_postgresql:
            query = query.with_for_update(key_share=True)
        return connection.execute(query).one_or_none() is not None

    def steps(self, connection: Connection, run_id: RunId) -> Iterator[None]:
        """Delete what belongs to the run, then itself: one transaction's share a step.

        Everything is found by a key that moves on: a count from the beginning would meet again
        all the dead entries of the steps before, as long as somebody holds vacuum back.
        """
        schema = self._database.schema
        for name in NUMBERED:
            yield from self._by_number(connection, getattr(schema, name), run_id)
        for name in LISTED:
            yield from self._by_id(connection, getattr(schema, name), run_id)
        for name in FEW:
            table = getattr(schema, name)
            connection.execute(delete(table).where(table.c.run_id == run_id))
        connection.execute(delete(schema.runs).where(schema.runs.c.id == run_id))
        yield

    def _by_number(self, connection: Connection, table: Table, run_id: RunId) -> Iterator[None]:
        mine = table.c.run_id == run_id
        ends = select(func.min(table.c.number), func.max(table.c.number)).where(mine)
        lowest, highest = connection.execute(ends).one()
        if lowest is None:
            return
        for first in range(lowest, highest + 1, BATCH):
            window = and_(mine, table.c.number >= first, table.c.number < first + BATCH)
            connection.execute(delete(table).where(window))
            yield

    def _by_id(self, connection: Connection, table: Table, run_id: RunId) -> Iterator[None]:
        tries, last = self._database.schema.tries, 0
        while True:
            page = (
                select(table.c.id)
                .where(table.c.run_id == run_id, table.c.id > last)
                .order_by(table.c.id)
                .limit(BATCH)
            )
            ids = connection.execute(page).scalars().all()
            if not ids:
                return
            window = and_(table.c.run_id == run_id, table.c.id > last, table.c.id <= ids[-1])
            if table is self._database.schema.deliveries:
                told = select(table.c.id).where(window)
                connection.execute(delete(tries).where(tries.c.delivery_id.in_(told)))
            connection.execute(delete(table).where(window))
            last = ids[-1]
            yield
