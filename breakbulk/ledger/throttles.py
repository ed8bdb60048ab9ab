"""Where the throttles of runs stand: asked for by whoever looks at gauges, and by lanes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.domain.allowance import Allowance
from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import WORKABLE, ChunkStatus
from breakbulk.domain.throttle import Throttle
from breakbulk.domain.throttling import Gauge, Reading, ThrottleState
from breakbulk.ledger.database import Database
from breakbulk.ledger.runs import throttled_at_first
from breakbulk.ledger.sql import clock

_LATELY = 50


@dataclass(frozen=True, slots=True)
class Throttled:
    """A run that goes on and has a throttle, as whoever looks at gauges sees it.

    Attributes:
        rules: its throttle as it was read, to be sure that nobody has changed it since.
        lanes: at work.
    """

    run_id: RunId
    job: str
    queue: str
    rules: str
    throttled_to: int | None
    max_lanes: int | None
    lanes: int
    state: ThrottleState

    @property
    def throttle(self) -> Throttle:
        """On what it holds back."""
        return Throttle.from_json(self.rules)


class Throttles:
    """The throttles of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, connection: Connection) -> list[Throttled]:
        """Those of every run that lanes could work on."""
        schema = self._database.schema
        runs, lanes, throttles = schema.runs, schema.lanes, schema.throttles
        at_work = (
            select(func.count())
            .where(lanes.c.run_id == runs.c.id)
            .correlate(runs)
            .scalar_subquery()
        )
        names = ("id", "job", "queue", "throttle", "throttled_to", "max_lanes")
        query = (
            select(*(runs.c[name] for name in names), at_work.label("lanes"), *_state(throttles))
            .join_from(runs, throttles, throttles.c.run_id == runs.c.id, isouter=True)
            .where(
                runs.c.finished_at.is_(None),
                runs.c.throttle.is_not(None),
                runs.c.status.in_([str(status) for status in WORKABLE]),
            )
            .order_by(runs.c.id)
        )
        return [
            Throttled(
                run_id=RunId(row.id),
                job=row.job,
                queue=row.queue,
                rules=row.throttle,
                throttled_to=row.throttled_to,
                max_lanes=row.max_lanes,
                lanes=int(row.lanes),
                state=_read(row),
            )
            for row in connection.execute(query)
        ]

    def states(self, connection: Connection, ids: Sequence[RunId]) -> dict[RunId, ThrottleState]:
        """Where those of some runs stand, as far as they have been looked at."""
        throttles = self._database.schema.throttles
        query = select(throttles.c.run_id, *_state(throttles)).where(throttles.c.run_id.in_(ids))
        return {RunId(row.run_id): _read(row) for row in connection.execute(query)}

    def save(
        self,
        connection: Connection,
        seen: Throttled,
        state: ThrottleState,
        throttled_to: int | None,
    ) -> bool:
        """Write down what a look has led to; False when somebody has changed the rules meanwhile.

        The run's own row is written only when another number of lanes follows from it.
        """
        schema = self._database.schema
        runs, throttles = schema.runs, schema.throttles
        mine = (runs.c.id == seen.run_id, runs.c.throttle == seen.rules)
        query = select(runs.c.id).where(*mine)
        if self._database.is_postgresql:
            query = query.with_for_update(key_share=True)
        if connection.execute(query).one_or_none() is None:
            return False
        if throttled_to != seen.throttled_to:
            changed: dict[str, Any] = {"throttled_to": throttled_to}
            if seen.throttled_to == 0:
                changed["ready_at"] = clock()
            connection.execute(update(runs).where(*mine).values(changed))
        reading = state.reading
        values = {
            "gauge": None if reading is None else str(reading.gauge),
            "says": None if reading is None else reading.says,
            "value": None if reading is None else reading.value,
            "at_most": None if reading is None else reading.limit,
            "since": state.since,
            "ceiling": state.ceiling,
            "raised_at": state.raised_at,
        }
        dialect = postgresql if self._database.is_postgresql else sqlite
        statement = dialect.insert(throttles).values(run_id=seen.run_id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))
        return True

    def rules(self, connection: Connection, run: Run) -> Throttle:
        """A run's throttle, which nobody else changes before the transaction ends."""
        runs = self._database.schema.runs
        query = select(runs.c.throttle).where(runs.c.id == run.id)
        if self._database.is_postgresql:
            query = query.with_for_update(key_share=True)
        found = connection.execute(query).scalar_one()
        return Throttle.from_json(found)

    def cap(self, connection: Connection, run_id: RunId) -> float | None:
        """How many rows a second a run may begin by now; None: as many as it can."""
        runs = self._database.schema.runs
        query = select(runs.c.throttle).where(runs.c.id == run_id)
        found = connection.execute(query).scalar_one()
        return Throttle.from_json(found).max_rows_per_second

    def change(self, connection: Connection, run_id: RunId, throttle: Throttle) -> bool:
        """Give a run other rules; False when it has ended. Call it with the carve row locked.

        Where something has to be looked at first its lanes leave after the chunk in hand. A cap
        they learn of with the next carve.
        """
        schema = self._database.schema
        runs = schema.runs
        rules = json.dumps(throttle.as_dict()) if throttle else None
        at_first = throttled_at_first(throttle)
        changed = connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.finished_at.is_(None))
            .values(
                throttle=rules,
                throttled_to=at_first,
                ready_at=case((runs.c.throttled_to == 0, clock()), else_=runs.c.ready_at),
            )
        )
        # What a former cap has used up says nothing of the new one, nor a reading of new limits.
        connection.execute(insert(schema.allowances).values(run_id=run_id, used_until=clock()))
        mine = schema.throttles.c.run_id == run_id
        connection.execute(delete(schema.throttles).where(mine))
        return changed.rowcount == 1

    def pace(self, connection: Connection, run_id: RunId) -> tuple[int, float]:
        """Rows of the latest chunks that are done, and for how many seconds lanes were at them."""
        chunks = self._database.schema.chunks
        latest = (
            select(chunks.c.status, chunks.c.rows, chunks.c.seconds)
            .where(chunks.c.run_id == run_id)
            .order_by(chunks.c.number.desc(), chunks.c.path.desc())
            .limit(_LATELY)
        )
        done = [
            row
            for row in connection.execute(latest)
            if row.status == str(ChunkStatus.SUCCEEDED) and row.seconds is not None
        ]
        return sum(row.rows for row in done), sum(row.seconds for row in done)

    def allowance(self, connection: Connection, run_id: RunId, cap: float) -> Allowance:
        """How far a run's cap is used."""
        allowances = self._database.schema.allowances
        last = (
            select(allowances.c.used_until)
            .where(allowances.c.run_id == run_id)
            .order_by(allowances.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        used_until, now = connection.execute(select(last, clock())).one()
        return Allowance(cap, now, used_until)

    def use(self, connection: Connection, run_id: RunId, until: datetime) -> None:
        """Note up to when a run's cap is used. Call it with the carve row locked."""
        allowances = self._database.schema.allowances
        connection.execute(insert(allowances).values(run_id=run_id, used_until=until))

    def tidy(self, connection: Connection) -> None:
        """Throw away what says nothing any more: all but the latest, and all of what has ended."""
        schema = self._database.schema
        allowances, runs = schema.allowances, schema.runs
        later = allowances.alias("later")
        latest = (
            select(func.max(later.c.id))
            .where(later.c.run_id == allowances.c.run_id)
            .correlate(allowances)
            .scalar_subquery()
        )
        connection.execute(delete(allowances).where(allowances.c.id < latest))
        going = select(runs.c.id).where(runs.c.finished_at.is_(None))
        for table in (allowances, schema.throttles):
            connection.execute(delete(table).where(table.c.run_id.not_in(going)))


def _state(throttles: Any) -> list[Any]:
    return [throttles.c[name] for name in _COLUMNS]


_COLUMNS = ("gauge", "says", "value", "at_most", "since", "ceiling", "raised_at")


def _read(row: Any) -> ThrottleState:
    reading = None
    if row.gauge is not None:
        over = row.since is not None
        reading = Reading(Gauge(row.gauge), row.says, over, not over, row.value, row.at_most)
    return ThrottleState(reading, row.since, row.ceiling, row.raised_at)
