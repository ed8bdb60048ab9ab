"""What the ledger shows of a run at one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from breakbulk.ledger.sql import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from breakbulk import RunHandle
    from breakbulk.ledger.schema import Schema

#: A fault that strikes earlier or later does not strike in the middle of the work.
WINDOW = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk that a lane holds.

    Attributes:
        pid: the process of the lane; ``worker`` is its worker's main process.
    """

    number: int
    path: str
    owner: UUID
    lane: int
    pid: int
    worker: int


@dataclass(frozen=True, slots=True)
class Sight:
    """A run at one moment of the database's clock.

    Attributes:
        over: whether the run has ended.
        held: chunks in the hands of lanes, the lowest first.
    """

    at: datetime
    rows: int
    rows_done: int
    over: bool
    held: tuple[Held, ...]

    @property
    def in_flight(self) -> list[Held]:
        """The chunks that lanes are at: the lowest that each of them holds."""
        lowest: dict[int, Held] = {}
        for one in self.held:
            lowest.setdefault(one.lane, one)
        return list(lowest.values())

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return self.rows_done / self.rows

    @property
    def in_window(self) -> bool:
        """Whether a fault that strikes now strikes in the middle of the work."""
        return bool(self.in_flight) and WINDOW[0] <= self.share <= WINDOW[1]

    def only(self, wanted: Callable[[Held], bool]) -> Sight:
        """The same with these chunks alone."""
        return replace(self, held=tuple(one for one in self.held if wanted(one)))

    def __str__(self) -> str:
        return f"{self.share:.0%} done, {len(self.in_flight)} in flight"


def look(
    connection: Connection,
    schema: Schema,
    run: RunHandle,
    rows: int,
    *,
    at: datetime | None = None,
) -> Sight:
    """Look at a run.

    Args:
        rows: how many it has in all.
        at: count what was done by then instead of by now, for a moment at which the database
            could not be asked.
    """
    chunks, lanes, workers = schema.chunks, schema.lanes, schema.workers
    now = connection.execute(select(clock())).scalar_one()
    done = [chunks.c.run_id == run.id, chunks.c.status == "succeeded"]
    if at is not None:
        done.append(chunks.c.ended_at <= at)
    total = connection.execute(select(func.coalesce(func.sum(chunks.c.rows), 0)).where(*done))
    held = (
        select(chunks, lanes.c.pid, workers.c.pid.label("worker"))
        .join(lanes, and_(lanes.c.run_id == chunks.c.run_id, lanes.c.number == chunks.c.lane))
        .join(workers, workers.c.id == lanes.c.worker_id)
        .where(chunks.c.run_id == run.id, chunks.c.status == "carved")
        .order_by(chunks.c.number, chunks.c.path)
    )
    ended = select(schema.runs.c.finished_at).where(schema.runs.c.id == run.id)
    return Sight(
        at=at or now,
        rows=rows,
        rows_done=int(total.scalar_one()),
        over=connection.execute(ended).scalar_one() is not None,
        held=tuple(_held(row) for row in connection.execute(held)),
    )


def _held(row: Any) -> Held:
    return Held(row.number, row.path, row.owner, row.lane, row.pid, row.worker)
