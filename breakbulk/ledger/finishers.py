"""Who calls back for a run: one lane at a time, by a token, until it is over or given up."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, exists, or_, select, update

from breakbulk.domain.chunk import RunId
from breakbulk.domain.status import RunStatus
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock


class Finishers:
    """The finishers of one ledger's runs. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def free(
        self,
        connection: Connection,
        run_id: RunId,
        finisher: UUID,
        *,
        wait: float,
        try_spent: bool = True,
        **values: Any,
    ) -> bool:
        """Let another lane call back, ``wait`` seconds from now at the earliest.

        Args:
            try_spent: whether the attempt counts as one.
        """
        runs = self._database.schema.runs
        if not try_spent:
            values["finish_attempt"] = runs.c.finish_attempt - 1
        result = connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.finisher == finisher)
            .values(finisher=None, finisher_lane=None, finish_after=clock(wait), **values)
        )
        return result.rowcount == 1

    def claim(
        self, connection: Connection, run_id: RunId, finisher: UUID, lane: UUID
    ) -> int | None:
        """Become the one who calls back; the number of the attempt, or None if another is."""
        runs = self._database.schema.runs
        row = connection.execute(
            update(runs)
            .where(
                runs.c.id == run_id,
                runs.c.status == str(RunStatus.FINISHING),
                runs.c.finisher.is_(None),
                or_(runs.c.finish_after.is_(None), runs.c.finish_after <= clock()),
            )
            .values(
                finisher=finisher,
                finisher_lane=lane,
                finish_attempt=runs.c.finish_attempt + 1,
            )
            .returning(runs.c.finish_attempt)
        ).one_or_none()
        return None if row is None else int(row.finish_attempt)

    def holds(self, connection: Connection, run_id: RunId, finisher: UUID) -> bool:
        """Whether it is this finisher's turn still."""
        runs = self._database.schema.runs
        found = select(runs.c.id).where(runs.c.id == run_id, runs.c.finisher == finisher)
        return connection.execute(found).one_or_none() is not None

    def of_lane(self, connection: Connection, run_id: RunId, lane: UUID) -> tuple[UUID, int] | None:
        """The token and the number of the attempt, if a lane is calling back for a run."""
        runs = self._database.schema.runs
        row = connection.execute(
            select(runs.c.finisher, runs.c.finish_attempt).where(
                runs.c.id == run_id,
                runs.c.status == str(RunStatus.FINISHING),
                runs.c.finisher.is_not(None),
                runs.c.finisher_lane == lane,
            )
        ).one_or_none()
        return None if row is None else (row.finisher, int(row.finish_attempt))

    def orphaned(self, connection: Connection) -> list[tuple[RunId, UUID]]:
        """Callbacks whose lane is no more."""
        runs, lanes = self._database.schema.runs, self._database.schema.lanes
        rows = connection.execute(
            select(runs.c.id, runs.c.finisher).where(
                runs.c.finished_at.is_(None),
                runs.c.status == str(RunStatus.FINISHING),
                runs.c.finisher.is_not(None),
                ~exists().where(lanes.c.token == runs.c.finisher_lane),
            )
        )
        return [(RunId(row.id), row.finisher) for row in rows]
