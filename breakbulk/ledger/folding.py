"""Putting tallies together, so that reading them stays cheap and a run's history is kept.

The older a run gets, the coarser its history: by stretches of as many seconds as a curve of it has
(:func:`~breakbulk.domain.series.stretch`). What is written is the sum of what was deleted, so two
who fold at once count nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, or_, select, text

from breakbulk.domain.series import origin, stretch
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between


class Folding:
    """Folds the tallies of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fold(self, connection: Connection, older_than: float) -> int:
        """Fold tallies older than that many seconds, and those of failures; how many there were."""
        return self._fold_tallies(connection, older_than) + self._fold_failures(connection)

    def _fold_tallies(self, connection: Connection, older_than: float) -> int:
        tallies = self._database.schema.tallies
        # Asked once: a clock that moves is nothing to look up in an index.
        edge = select(clock(-older_than)).scalar_subquery()
        gone = connection.execute(
            delete(tallies)
            # The condition as the index has it.
            .where(text("lane >= 0"), tallies.c.at < edge)
            .returning(*_tally(tallies))
        ).all()
        steps = self._steps(connection, {one.run_id for one in gone})
        begun = _earliest(gone, steps, "at")
        folded: dict[tuple[int, datetime], list[int]] = {}
        for run_id, step in steps.items():
            finer = connection.execute(
                delete(tallies)
                .where(
                    tallies.c.run_id == run_id,
                    tallies.c.lane < 0,
                    or_(tallies.c.lane > -step, tallies.c.at >= begun[run_id]),
                )
                .returning(*_tally(tallies))
            ).all()
            gone = [*gone, *finer]
        for one in gone:
            place = (one.run_id, origin(one.at, steps[one.run_id]))
            sums = folded.setdefault(place, [0, 0])
            sums[0] += one.chunks
            sums[1] += one.rows
        if folded:
            connection.execute(
                insert(tallies),
                [
                    {"run_id": run_id, "at": at, "lane": -steps[run_id], "chunks": c, "rows": r}
                    for (run_id, at), (c, r) in folded.items()
                ],
            )
        return len(gone)

    def _fold_failures(self, connection: Connection) -> int:
        tallies = self._database.schema.failure_tallies
        gone = connection.execute(
            delete(tallies).where(text("step = 0")).returning(*_failure(tallies))
        ).all()
        steps = self._steps(connection, {one.run_id for one in gone})
        begun = _earliest(gone, steps, "first_at")
        for run_id, step in steps.items():
            finer = connection.execute(
                delete(tallies)
                .where(
                    tallies.c.run_id == run_id,
                    tallies.c.step > 0,
                    or_(tallies.c.step < step, tallies.c.last_at >= begun[run_id]),
                )
                .returning(*_failure(tallies))
            ).all()
            gone = [*gone, *finer]
        folded: dict[tuple[Any, ...], dict[str, Any]] = {}
        for one in gone:
            step = steps[one.run_id]
            place = (one.run_id, one.error, one.place, origin(one.first_at, step))
            known = folded.get(place)
            folded[place] = {
                "run_id": one.run_id,
                "error": one.error,
                "place": one.place,
                "attempts": one.attempts + (known["attempts"] if known else 0),
                "chunks": one.chunks + (known["chunks"] if known else 0),
                "first_at": min(one.first_at, known["first_at"]) if known else one.first_at,
                "last_at": max(one.last_at, known["last_at"]) if known else one.last_at,
                "failure_id": max(one.failure_id, known["failure_id"] if known else 0),
                "step": step,
            }
        if folded:
            connection.execute(insert(tallies), list(folded.values()))
        return len(gone)

    def _steps(self, connection: Connection, run_ids: Iterable[int]) -> dict[int, int]:
        """By how many seconds each run is folded."""
        runs = self._database.schema.runs
        ids = list(run_ids)
        lasted = seconds_between(
            func.coalesce(runs.c.started_at, runs.c.submitted_at),
            func.coalesce(runs.c.finished_at, clock()),
        )
        query = select(runs.c.id, lasted.label("lasted")).where(runs.c.id.in_(ids))
        found = {row.id: stretch(row.lasted) for row in connection.execute(query)} if ids else {}
        # Of a run that is not there any more nobody asks.
        return {run_id: found.get(run_id, 1) for run_id in ids}


def _tally(tallies: Table) -> list[Any]:
    return [tallies.c.run_id, tallies.c.at, tallies.c.chunks, tallies.c.rows]


def _failure(tallies: Table) -> list[Any]:
    return [column for column in tallies.c if column.name not in {"id", "step"}]


def _earliest(gone: Iterable[Any], steps: dict[int, int], name: str) -> dict[int, datetime]:
    """Where the first stretch begins that something of each run goes into."""
    first: dict[int, datetime] = {}
    for one in gone:
        at = origin(getattr(one, name), steps[one.run_id])
        first[one.run_id] = min(at, first.get(one.run_id, at))
    return first
