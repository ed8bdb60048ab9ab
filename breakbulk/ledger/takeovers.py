"""Chunks that a lane holds and has not begun, for another lane that has nothing to do.

A lane works in order, so all but the lowest of its chunks are not begun, and stay so while the
lowest is not done. Whoever takes some of the others locks that one first: until then its own lane
may end it and go on to the next, afterwards it cannot. So nothing is ever taken that somebody is
at, whatever its own lane has open meanwhile, or has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, exists, func, select, tuple_, update

from breakbulk.domain.chunk import Claim, RunId
from breakbulk.domain.sizing import WINDOW, Timed, rows_per_second
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.claims import claim_of
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock, seconds_between

#: What so many chunks before and behind one took tells what it will take itself.
_LOOK = 200


@dataclass(frozen=True, slots=True)
class Tail:
    """What others hold and have not begun, once nothing is left to carve.

    Attributes:
        age: seconds since the last chunk was carved.
        lane: the one that holds most rows.
        chunks: how many chunks that are, in all lanes.
    """

    age: float
    lane: int
    chunks: int


class Takeovers:
    """The takeovers of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tail(self, connection: Connection, run_id: RunId, lane: int) -> Tail | None:
        """What lanes other than this one hold; None: nothing, or it is carved still."""
        chunks, carves = self._database.schema.chunks, self._database.schema.carves
        place = (
            func.row_number()
            .over(partition_by=chunks.c.lane, order_by=(chunks.c.number, chunks.c.path))
            .label("place")
        )
        held = (
            select(chunks.c.lane, chunks.c.rows, place)
            .where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.CARVED]),
                chunks.c.lane != lane,
            )
            .subquery()
        )
        rows = func.sum(held.c.rows)
        query = (
            select(
                seconds_between(carves.c.exhausted_at, clock()).label("age"),
                held.c.lane,
                func.sum(func.count()).over().label("chunks"),
            )
            .select_from(carves)
            .join(held, held.c.place > 1)
            .where(carves.c.run_id == run_id, carves.c.exhausted_at.is_not(None))
            .group_by(held.c.lane, carves.c.exhausted_at)
            .order_by(rows.desc(), held.c.lane)
            .limit(1)
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else Tail(float(row.age), row.lane, int(row.chunks))

    def pin(self, connection: Connection, claim: Claim) -> bool:
        """Let a chunk in another lane's hand not end before this transaction does.

        False where it has ended, or is just ending: then the next one may have been begun. Call it
        with the carve row locked.
        """
        chunks, ref = self._database.schema.chunks, claim.ref
        query = select(chunks.c.number).where(
            chunks.c.run_id == ref.run_id,
            chunks.c.number == ref.number,
            chunks.c.path == ref.path,
            chunks.c.owner == claim.owner,
        )
        if self._database.is_postgresql:
            query = query.with_for_update(key_share=True, skip_locked=True)
        return connection.execute(query).one_or_none() is not None

    def take(
        self, connection: Connection, held: Sequence[Claim], *, lane: int, owner: UUID
    ) -> list[Claim]:
        """Take chunks as one's own, those that are still whose they were.

        Call it with the carve row locked, and the lowest of their lane pinned. Their attempt is on
        record already: it was to be the one that takes place now.
        """
        chunks = self._database.schema.chunks
        names = [(claim.ref.number, claim.ref.path) for claim in held]
        rows = connection.execute(
            update(chunks)
            .where(
                chunks.c.run_id == held[0].ref.run_id,
                tuple_(chunks.c.number, chunks.c.path).in_(names),
                chunks.c.owner.in_({claim.owner for claim in held}),
            )
            .values(owner=owner, lane=lane)
            .returning(chunks)
        )
        return sorted(
            (claim_of(row) for row in rows), key=lambda claim: (claim.ref.number, claim.ref.path)
        )

    def idle_lanes(self, connection: Connection, run_id: RunId, slots: int) -> int:
        """How many lanes of a run have nothing in hand, or would come if there were any work.

        A lane that finds nothing leaves, and none is asked for where nothing waits: so it is not
        only those that are there.

        Args:
            slots: in which lanes of this run can work.
        """
        chunks, lanes = self._database.schema.chunks, self._database.schema.lanes
        runs = self._database.schema.runs
        carved = self._database.schema.open_chunks([ChunkStatus.CARVED])
        at_work = exists().where(chunks.c.run_id == run_id, carved, chunks.c.lane == lanes.c.number)
        here = select(func.count()).where(lanes.c.run_id == run_id, ~at_work).scalar_subquery()
        busy = (
            select(func.count(func.distinct(chunks.c.lane)))
            .where(chunks.c.run_id == run_id, carved)
            .scalar_subquery()
        )
        query = select(
            runs.c.max_lanes, runs.c.throttled_to, here.label("here"), busy.label("busy")
        ).where(runs.c.id == run_id)
        row = connection.execute(query).one()
        most = min(one for one in (slots, row.max_lanes, row.throttled_to) if one is not None)
        return max(int(row.here), most - int(row.busy))

    def row_seconds(self, connection: Connection, run_id: RunId, number: int) -> float | None:
        """Seconds a row takes by the chunks nearest to one; None where nobody knows.

        Those behind it, too: who takes over begins with the upper ones. By the rule of chunks that
        size themselves: what has become dear counts at once.
        """
        chunks = self._database.schema.chunks
        near = (
            select(chunks.c.rows, chunks.c.seconds)
            .where(
                chunks.c.run_id == run_id,
                chunks.c.number.between(number - _LOOK, number + _LOOK),
                chunks.c.status == str(ChunkStatus.SUCCEEDED),
                chunks.c.seconds.is_not(None),
            )
            .order_by(
                func.abs(chunks.c.number - number), chunks.c.number.desc(), chunks.c.path.desc()
            )
            .limit(WINDOW)
        )
        known = [Timed(int(row.rows), float(row.seconds)) for row in connection.execute(near)]
        pace = rows_per_second(known)
        return None if pace is None else 1 / pace
