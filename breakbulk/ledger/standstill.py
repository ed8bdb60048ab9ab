"""Why nobody works on a run at this moment: whom, or what time, it waits for."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from sqlalchemy import Connection, exists, func, or_, select

from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, WORKABLE, ChunkStatus, RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between
from breakbulk.ledger.workers import Worker, Workers

_NEEDS_LANES = frozenset({RunStatus.LOADING, RunStatus.RUNNING, RunStatus.FINISHING})


class Standstill:
    """Looks for what runs wait for, at one time. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._workers: list[Worker] | None = None
        self._now: datetime | None = None

    def cause(self, connection: Connection, run: Run, lanes: int) -> str | None:
        """What the run waits for, to follow "waiting: "; None when it is worked on, or soon.

        Args:
            lanes: how many are at work.
        """
        frozen = None if run.status in FINISHED else self._database.writer(frozen=True)
        if frozen is not None:
            return f"process {frozen}, which is stopped, holds SQLite's only writer"
        if lanes or run.status not in _NEEDS_LANES:
            return None
        nobody = self._nobody(connection, run)
        if nobody and run.status is RunStatus.FINISHING:
            return f"its {run.callback} is still to be called, and {nobody}"
        return nobody or self._next_try(connection, run)

    def start(self, connection: Connection, run: Run) -> str | None:
        """When a run starts that is not to start yet, to follow "waiting: "; else None."""
        if run.status not in WORKABLE:
            return None
        if run.awaits:
            return "it starts when what comes before it has ended"
        if run.not_before is None:
            return None
        if self._time(connection) >= run.not_before:
            return None
        at = run.not_before.astimezone(UTC).replace(microsecond=0, tzinfo=None)
        return f"it starts at {at} UTC"

    def _time(self, connection: Connection) -> datetime:
        """By the database's clock, as for lanes; asked once, however many runs are looked at."""
        if self._now is None:
            self._now = connection.execute(select(clock())).scalar_one()
        return self._now

    def _nobody(self, connection: Connection, run: Run) -> str | None:
        workers = self._at_hand(connection)
        consumers = [one for one in workers if run.queue in one.queues]
        able = [one for one in consumers if run.job in one.jobs]
        if able and not any(one.slots for one in able):
            return "every slot of its workers is stuck in a chunk that took too long"
        if able:
            return None
        if consumers:
            return f"no worker on the queue {run.queue!r} has the code of {run.job}"
        return f"no worker consumes the queue {run.queue!r}" if workers else "no worker is running"

    def _at_hand(self, connection: Connection) -> list[Worker]:
        # Asked once, however many runs are looked at.
        if self._workers is None:
            live = Workers(self._database).live(connection)
            self._workers = [one for one in live if not one.draining]
        return self._workers

    def _next_try(self, connection: Connection, run: Run) -> str | None:
        """The time of the next try, when there is nothing else to do until then."""
        schema = self._database.schema
        if run.status is RunStatus.FINISHING:
            what = run.nouns.callback
            until = select(schema.runs.c.finish_after).where(schema.runs.c.id == run.id)
        elif self._all_in_waiting(connection, run):
            what = run.nouns.chunk
            waiting = schema.waiting
            until = select(func.min(waiting.c.not_before)).where(waiting.c.run_id == run.id)
        else:
            return None
        due: float | None = connection.execute(
            select(seconds_between(clock(), until.scalar_subquery()))
        ).scalar()
        if due is None or due <= 0:
            return None
        return f"the next try of a {what} is due in {math.ceil(due)} s"

    def _all_in_waiting(self, connection: Connection, run: Run) -> bool:
        """Whether all is carved, and what is not done waits."""
        schema = self._database.schema
        carves, chunks = schema.carves, schema.chunks
        fresh = exists().where(carves.c.run_id == run.id, carves.c.exhausted_at.is_(None))
        in_hand = exists().where(
            chunks.c.run_id == run.id, schema.open_chunks([ChunkStatus.CARVED])
        )
        return not connection.execute(select(or_(fresh, in_hand))).scalar()
