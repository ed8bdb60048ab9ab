"""Run rows: submitted once, and moved from status to status through one door."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    exists,
    false,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.domain.chunk import HIGHEST_ID, RunId
from breakbulk.domain.event import EVENT_OF, EventType
from breakbulk.domain.failing import FailurePolicy
from breakbulk.domain.keys import encode_key
from breakbulk.domain.run import Run, Summary
from breakbulk.domain.status import FINISHED, WORKABLE, RunStatus, sources_of
from breakbulk.domain.storable import storable
from breakbulk.domain.throttle import NO_THROTTLE, Throttle
from breakbulk.errors import RunNotFound
from breakbulk.ledger.beginning import RELEASED
from breakbulk.ledger.database import Database
from breakbulk.ledger.outbox import Outbox
from breakbulk.ledger.searching import in_statuses, within_seconds
from breakbulk.ledger.sql import clock

#: Characters of a reason: it is shown in one line, and may hold what user code has said.
_REASON_LIMIT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What submit writes down."""

    job: str
    parameters: dict[str, Any]
    parameters_hash: str
    queue: str
    submitted_by: str | None
    idempotency_key: str | None
    slot: str | None
    fingerprint: str
    key_names: tuple[str, ...]
    until: str | None
    rows_estimate: int | None
    chunk_size: int
    chunk_seconds: float | None
    max_lanes: int | None
    policy: FailurePolicy
    at_least_once: bool
    has_failed: bool
    loading: bool = False
    waits_for: RunId | None = None
    links: tuple[tuple[str, str], ...] = ()
    not_before: datetime | None = None
    awaits: bool = False
    finish_by: datetime | None = None
    trace: str | None = None
    throttle: Throttle = NO_THROTTLE


class Runs:
    """The runs of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outbox = Outbox(database)

    def insert(self, connection: Connection, new: NewRun, submitted_at: Any) -> RunId | None:
        """Write a run and its carve row; None when its key or its place is taken already.

        A submit of the same key in another transaction that has not ended yet is waited for.
        """
        runs, carves = self._tables()
        waits = new.waits_for is not None
        begins_as = RunStatus.LOADING if new.loading else RunStatus.RUNNING
        values = {
            "job": new.job,
            "parameters": json.dumps(new.parameters, sort_keys=True),
            "parameters_hash": new.parameters_hash,
            "queue": new.queue,
            "status": str(RunStatus.HELD if waits else begins_as),
            "reason": f"waits for run {new.waits_for} of the same job to end" if waits else None,
            "waits_for": new.waits_for,
            "submitted_at": submitted_at,
            "submitted_by": new.submitted_by,
            "idempotency_key": new.idempotency_key,
            "slot": None if waits else new.slot,
            "alone": new.slot is not None,
            "fingerprint": new.fingerprint,
            "key_names": json.dumps(new.key_names),
            "until": new.until,
            "rows_estimate": new.rows_estimate,
            "chunk_size": new.chunk_size,
            "chunk_seconds": new.chunk_seconds,
            "max_lanes": new.max_lanes,
            "policy": json.dumps(new.policy.as_dict()),
            "at_least_once": new.at_least_once,
            "has_failed": new.has_failed,
            "not_before": new.not_before,
            "awaits": new.awaits,
            "finish_by": new.finish_by,
            "trace": new.trace,
            "throttle": json.dumps(new.throttle.as_dict()) if new.throttle else None,
            "throttled_to": throttled_at_first(new.throttle),
        }
        dialect = postgresql if self._database.is_postgresql else sqlite
        statement = dialect.insert(runs).values(values).on_conflict_do_nothing()
        told = (self._outbox.wanted().label("wanted"), clock().label("now"))
        row = connection.execute(statement.returning(runs.c.id, *told)).one_or_none()
        if row is None:
            return None
        run_id = RunId(row.id)
        empty = new.until is None and not new.loading
        connection.execute(
            insert(carves).values(run_id=run_id, exhausted_at=clock() if empty else None)
        )
        self._outbox.link(connection, run_id, new.links)
        if row.wanted:
            self._outbox.tell(
                connection, self.get(connection, run_id), EventType.SUBMITTED, row.now
            )
        return run_id

    def get(self, connection: Connection, run_id: RunId) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none of that id.
        """
        runs = self._database.schema.runs
        query = select(runs).where(runs.c.id == run_id)
        # A number that no database could have given would be an error of the driver.
        row = connection.execute(query).one_or_none() if 0 < run_id <= HIGHEST_ID else None
        if row is None:
            raise RunNotFound(f"There is no run {run_id}; 'breakbulk runs' lists them.")
        return run_of(row)

    def status(self, connection: Connection, run_id: RunId) -> RunStatus:
        """Where the run stands, without the rest of its row."""
        runs = self._database.schema.runs
        return RunStatus(
            connection.execute(select(runs.c.status).where(runs.c.id == run_id)).scalar_one()
        )

    def find(
        self,
        connection: Connection,
        *,
        job: str | None = None,
        idempotency_key: str | None = None,
        slot: str | None = None,
        parameters_hash: str | None = None,
        statuses: Iterable[RunStatus] | None = None,
        submitted_by: str | None = None,
        within: float | None = None,
        before: RunId | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs that match all that is given, newest first, by pages of keys.

        Args:
            within: submitted in the last so many seconds.
        """
        runs = self._database.schema.runs
        where = [
            column == value
            for column, value in (
                (runs.c.job, job),
                (runs.c.idempotency_key, idempotency_key),
                (runs.c.slot, slot),
                (runs.c.parameters_hash, parameters_hash),
                (runs.c.submitted_by, submitted_by),
            )
            if value is not None
        ]
        if within is not None:
            where += within_seconds(runs, within)
        if before is not None:
            where.append(runs.c.id < before)
        if statuses is not None:
            where.append(in_statuses(runs, frozenset(statuses), where, limit))
        query = select(runs).where(*where).order_by(runs.c.id.desc()).limit(limit)
        return [run_of(row) for row in connection.execute(query)]

    def move(
        self,
        connection: Connection,
        run_id: RunId,
        to: RunStatus,
        *,
        come_from: Iterable[RunStatus] | None = None,
        actor: str,
        reason: str | None = None,
        verb: str | None = None,
        detail: str | None = None,
        **values: Any,
    ) -> bool:
        """The one door for every change of a run's status.

        A compare-and-set: it does nothing and returns False when the run is by now in a status
        from which no arrow leads to ``to``. What is done is noted in the run's activity, as
        ``verb`` or else by the status, with ``detail`` or else the reason.
        """
        runs = self._database.schema.runs
        why = None if reason is None else storable(reason, _REASON_LIMIT)
        sources = sources_of(to) if come_from is None else frozenset(come_from) & sources_of(to)
        changed: dict[str, Any] = {"status": str(to), "reason": why, **values}
        if to in WORKABLE and RunStatus.LOADING not in sources:
            # How it was when it came to rest says nothing about now.
            throttled = case((runs.c.throttle.is_not(None), 0), else_=None)
            changed.setdefault("throttled_to", throttled)
            changed["ready_at"] = clock()
        elif to is RunStatus.FINISHING:
            changed["ready_at"] = clock()
        if to in FINISHED and to is not RunStatus.PRUNING:
            changed |= {"finished_at": clock(), "slot": None, "finisher": None}
        where = [runs.c.id == run_id, runs.c.status.in_([str(status) for status in sources])]
        if "finisher" in values and to in FINISHED:
            where.append(runs.c.finisher == values["finisher"])
        told = (self._outbox.wanted(run_id).label("wanted"), clock().label("now"))
        statement = update(runs).where(*where).values(changed).returning(*told)
        row = connection.execute(statement).one_or_none()
        if row is None:
            return False
        self.note(connection, run_id, actor=actor, verb=verb or str(to), detail=detail or reason)
        event = EVENT_OF.get(to)
        if row.wanted and event is not None:
            self._outbox.tell(connection, self.get(connection, run_id), event, row.now)
        return True

    def note(
        self, connection: Connection, run_id: RunId, *, actor: str, verb: str, detail: str | None
    ) -> None:
        """Add a line to the run's activity."""
        detail = None if detail is None else storable(detail, _REASON_LIMIT)
        connection.execute(
            insert(self._database.schema.activity).values(
                run_id=run_id, at=clock(), actor=actor, verb=verb, detail=detail
            )
        )

    def force(
        self, connection: Connection, run_id: RunId, *, actor: str, reason: str | None = None
    ) -> None:
        """Mark a run that is being cancelled: the chunks in hand are not waited for.

        Args:
            reason: why by now; what its policy has stopped keeps the reason of that.
        """
        runs = self._database.schema.runs
        changed: dict[str, Any] = {"forced": true()}
        if reason is not None:
            why = storable(reason, _REASON_LIMIT)
            changed["reason"] = case((runs.c.outcome.is_(None), why), else_=runs.c.reason)
        marked = connection.execute(
            update(runs)
            .where(
                runs.c.id == run_id,
                runs.c.status == str(RunStatus.CANCELLING),
                runs.c.forced.is_(false()),
            )
            .values(changed)
        )
        if marked.rowcount:
            self.note(connection, run_id, actor=actor, verb="forced", detail=reason)

    def limit_lanes(
        self, connection: Connection, run_id: RunId, lanes: int | None, *, actor: str
    ) -> bool:
        """Let a run have at most so many lanes; False when it has ended.

        It is noted in the run's activity if it is a change.
        """
        runs = self._database.schema.runs
        before = self.get(connection, run_id).max_lanes
        changed = connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.finished_at.is_(None))
            .values(max_lanes=lanes)
        )
        if changed.rowcount and lanes != before:
            detail = f"{_lanes(lanes)}, before: {_lanes(before)}"
            self.note(connection, run_id, actor=actor, verb="lanes", detail=detail)
        return changed.rowcount == 1

    def loaded(self, connection: Connection, run_id: RunId, items: int) -> None:
        """Note how many items a run has, now that its iterable was read to its end.

        Call it with the carve row locked.
        """
        runs, carves = self._tables()
        if items:
            values = {"until": encode_key((items,)), "rows_estimate": items}
            connection.execute(update(runs).where(runs.c.id == run_id).values(values))
        else:
            connection.execute(
                update(carves).where(carves.c.run_id == run_id).values(exhausted_at=clock())
            )
        self.move(
            connection,
            run_id,
            RunStatus.RUNNING,
            come_from=[RunStatus.LOADING],
            actor="producer",
        )

    def goes_on_as(self, connection: Connection, run_id: RunId) -> RunStatus:
        """What a run is when it is not stopped; ask with the carve row locked."""
        loads = self._database.schema.loads
        question = exists().where(loads.c.run_id == run_id, loads.c.ended_at.is_(None))
        loading = connection.execute(select(question)).scalar()
        return RunStatus.LOADING if loading else RunStatus.RUNNING

    def release(self, connection: Connection, run_id: RunId) -> bool:
        """Let a run start that awaits somebody's word, once; False when it does not, or no more."""
        runs = self._database.schema.runs
        awaiting = (runs.c.id == run_id, runs.c.awaits, runs.c.finished_at.is_(None))
        released = update(runs).where(*awaiting).values(awaits=False, ready_at=clock())
        if connection.execute(released).rowcount != 1:
            return False
        self.note(connection, run_id, actor="canvas", verb=RELEASED, detail=None)
        return True

    def served(self, connection: Connection, run_id: RunId) -> None:
        """Note that a lane begins, and when the first one did."""
        runs = self._database.schema.runs
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id)
            .values(started_at=func.coalesce(runs.c.started_at, clock()), served_at=clock())
        )

    def expect(self, connection: Connection, run_id: RunId, rows: int) -> None:
        """Note how many rows a run that goes on will have, as more is known of them."""
        runs = self._database.schema.runs
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.finished_at.is_(None))
            .values(rows_estimate=rows)
        )

    def chunks_failed(self, connection: Connection, seconds: float) -> int:
        """Chunks that were given up in runs that have ended in the last so many seconds."""
        runs = self._database.schema.runs
        since = select(clock(-seconds)).scalar_subquery()
        query = select(runs.c.summary).where(
            # A range only of what has ended: that is what the index holds.
            runs.c.finished_at.is_not(None),
            runs.c.finished_at >= since,
            runs.c.status != str(RunStatus.SUCCEEDED),
            runs.c.summary.is_not(None),
        )
        told = connection.execute(query).scalars()
        return sum(int(json.loads(summary)["chunks_failed"]) for summary in told)

    def active(self, connection: Connection) -> list[Run]:
        """Every run that has not ended."""
        runs = self._database.schema.runs
        rows = connection.execute(
            select(runs).where(runs.c.finished_at.is_(None)).order_by(runs.c.id)
        )
        return [run_of(row) for row in rows]

    def count_active(self, connection: Connection) -> int:
        """How many runs have not ended."""
        runs = self._database.schema.runs
        query = select(func.count()).where(runs.c.finished_at.is_(None))
        return int(connection.execute(query).scalar_one())

    def take_slot(self, connection: Connection, run_id: RunId) -> bool:
        """Start a run that stood behind another of the same job and parameters.

        Call it with the carve row locked.
        """
        runs = self._database.schema.runs
        ahead = runs.alias("ahead")
        mine = select(runs.c.parameters_hash, runs.c.job).where(runs.c.id == run_id).subquery()
        blocked = exists().where(
            and_(
                ahead.c.id < run_id,
                ahead.c.finished_at.is_(None),
                ahead.c.job == mine.c.job,
                ahead.c.parameters_hash == mine.c.parameters_hash,
            )
        )
        if connection.execute(select(func.count()).select_from(mine).where(blocked)).scalar():
            return False
        return self.move(
            connection,
            run_id,
            self.goes_on_as(connection, run_id),
            come_from=[RunStatus.HELD],
            actor="steward",
            verb=RELEASED,
            waits_for=None,
            slot=self.place,
        )

    @property
    def place(self) -> ColumnElement[str]:
        """What a run occupies while it goes on, unless others of its kind may go on beside it."""
        runs = self._database.schema.runs
        return runs.c.job + ":" + runs.c.parameters_hash

    def _tables(self) -> tuple[Any, Any]:
        return self._database.schema.runs, self._database.schema.carves


def throttled_at_first(throttle: Throttle) -> int | None:
    """How many lanes a run may have until its throttle has been looked at."""
    if throttle.gated:
        return 0
    # Nobody knows yet how many lanes a cap keeps at work.
    return 1 if throttle else None


def _lanes(most: int | None) -> str:
    return "as many as there are slots" if most is None else f"at most {most}"


def run_of(row: Row[Any]) -> Run:
    """A run from its row."""
    return Run(
        id=RunId(row.id),
        job=row.job,
        parameters=json.loads(row.parameters),
        queue=row.queue,
        status=RunStatus(row.status),
        reason=row.reason,
        outcome=None if row.outcome is None else RunStatus(row.outcome),
        round=row.round,
        submitted_at=row.submitted_at,
        submitted_by=row.submitted_by,
        started_at=row.started_at,
        finished_at=row.finished_at,
        idempotency_key=row.idempotency_key,
        fingerprint=row.fingerprint,
        key_names=tuple(json.loads(row.key_names)),
        until=row.until,
        rows_estimate=row.rows_estimate,
        chunk_size=row.chunk_size,
        chunk_seconds=row.chunk_seconds,
        max_lanes=row.max_lanes,
        policy=FailurePolicy.from_dict(json.loads(row.policy)),
        suspect=row.suspect,
        alone=row.alone,
        callback_failed=row.callback_failed,
        at_least_once=row.at_least_once,
        has_failed=row.has_failed,
        waits_for=None if row.waits_for is None else RunId(row.waits_for),
        finish_attempt=row.finish_attempt,
        not_before=row.not_before,
        awaits=row.awaits,
        finish_by=row.finish_by,
        trace=row.trace,
        throttle=Throttle.from_json(row.throttle),
        throttled_to=row.throttled_to,
        summary=None if row.summary is None else Summary(**json.loads(row.summary)),
    )
