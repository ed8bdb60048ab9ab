"""Whether there is anything for a steward to do, asked in one statement.

A steward looks twice a second, for as long as its worker runs, and nearly always all is well. To
ask a dozen questions each time took 11 ms of CPU, more than two parts in a hundred of a machine
with two cores. So one question comes first, and the others only where its answer is yes.

An answer is no more than a reason to look: whoever looks asks for himself, precisely.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    true,
)

from breakbulk.domain.status import STOPPING, WORKABLE, RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock
from breakbulk.ledger.startable import present, startable, to_do


@dataclass(frozen=True, slots=True)
class Signs:
    """What there may be to do.

    Attributes:
        lanes: the worker has lanes.
        forced: a run that is cancelled with the chunks in hand has one of them.
        lost: another worker may be dead, or lanes are there without one.
        resting: a run is being stopped, and has no lane any more.
        calling: a callback's lane is no more.
        active: a run has not ended.
        loading: an iterable is being read.
        wanting: a run could use a lane right now that it may have: one that has none, or any while
            a slot is free.
    """

    lanes: bool
    forced: bool
    lost: bool
    resting: bool
    calling: bool
    active: bool
    loading: bool
    wanting: bool


class SignReader:
    """Reads one ledger's signs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, connection: Connection, worker_id: UUID) -> Signs:
        """Look for the steward of a worker.

        Args:
            connection: in a transaction.
        """
        row = connection.execute(self._statement, {"me": worker_id}).one()
        return Signs(*map(bool, row))

    @cached_property
    def _statement(self) -> Any:
        schema = self._database.schema
        runs, lanes, workers = schema.runs, schema.lanes, schema.workers
        me = bindparam("me", type_=workers.c.id.type)
        mine = lanes.c.worker_id == me
        open_run = runs.c.finished_at.is_(None)
        no_lane = ~_any(lanes, lanes.c.run_id == runs.c.id)
        # On SQLite no lease runs out: a file lock says who is dead.
        silent = workers.c.lease_until < clock() if self._database.is_postgresql else true()
        at_work = select(func.count()).where(lanes.c.worker_id == workers.c.id)
        free_slot = _any(
            workers,
            workers.c.lease_until >= clock(),
            ~workers.c.draining,
            workers.c.slots > at_work.correlate(workers).scalar_subquery(),
        )
        # Whoever calls back needs none of the places that limits leave.
        room = or_(
            and_(_in(runs, RunStatus.FINISHING), no_lane),
            and_(_in(runs, *WORKABLE), schema.place(present(schema))),
        )
        could_use = (startable(schema), room, to_do(schema))
        questions = {
            "lanes": _any(lanes, mine),
            "forced": _any(
                lanes.join(runs, runs.c.id == lanes.c.run_id),
                mine,
                runs.c.forced,
                _in(runs, RunStatus.CANCELLING),
            ),
            "lost": or_(
                _any(workers, workers.c.id != me, silent),
                _any(lanes, ~_any(workers, workers.c.id == lanes.c.worker_id)),
            ),
            "resting": _any(runs, open_run, _in(runs, *STOPPING), no_lane),
            "calling": _any(
                runs,
                open_run,
                runs.c.finisher.is_not(None),
                ~_any(lanes, lanes.c.token == runs.c.finisher_lane),
            ),
            "active": _any(runs, open_run),
            "loading": _any(runs, open_run, _in(runs, RunStatus.LOADING)),
            "wanting": or_(
                _any(runs, *could_use, no_lane), and_(_any(runs, *could_use), free_slot)
            ),
        }
        return select(*(questions[one.name].label(one.name) for one in fields(Signs)))


def _any(rows: FromClause, *where: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(literal_column("1")).select_from(rows).where(*where).exists()


def _in(runs: Any, *statuses: RunStatus) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = runs.c.status.in_([str(status) for status in statuses])
    return condition
