"""Who may work on which chunk: carving fresh ones, claiming waiting ones, giving them back.

Everyone who changes which chunks exist or who owns them locks the run's carve row *first* and
asks *afterwards*, in a statement of its own: a condition inside the statement that waits for the
lock sees the world as it was before the wait (reproduced).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

from breakbulk.domain.chunk import HALVES, Bounds, ChunkRef, Claim, Cut, RunId, Scout
from breakbulk.domain.keys import Key, decode_key
from breakbulk.domain.status import WORKABLE, ChunkStatus
from breakbulk.domain.throttle import NO_THROTTLE, Throttle
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock

_NEVER_STARTED = 1
#: Of so many that have waited longest the lowest keys come first.
_OLDEST = 100


@dataclass(frozen=True, slots=True)
class Frontier:
    """Where carving stands.

    Attributes:
        number: of the last chunk carved; 0 before the first.
        upto: its upper bound; None before the first.
        rows: carved so far.
        exhausted: nothing is left to carve.
        scout: how far somebody has walked beyond without a full chunk.
        walker_busy: somebody else is walking far right now.
        throttle: on what the run holds back by now.
        expected: rows in all, as far as they can be guessed.
        lanes: how many are at the run.
    """

    number: int
    upto: Key | None
    rows: int
    exhausted: bool
    scout: Scout | None
    walker_busy: bool
    throttle: Throttle = NO_THROTTLE
    expected: int | None = field(default=None, compare=False)
    lanes: int = field(default=1, compare=False)


class Claims:
    """Claims on chunks. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lock(self, connection: Connection, run_id: RunId, *, wait: bool = True) -> bool:
        """Lock the run's carve row. Nothing is asked in this statement.

        Args:
            wait: False: give up at once if somebody else has it.

        Returns:
            Whether it is locked.
        """
        carves = self._database.schema.carves
        query = select(carves.c.run_id).where(carves.c.run_id == run_id)
        if self._database.is_postgresql:
            # NO KEY UPDATE, so that a foreign key to the row never waits for a carve.
            query = query.with_for_update(key_share=True, skip_locked=not wait)
        if wait:
            connection.execute(query).one()
            return True
        return connection.execute(query).one_or_none() is not None

    def frontier(self, connection: Connection, run_id: RunId, lane: UUID) -> Frontier:
        """Where carving stands, read off the chunk with the highest number."""
        carves, chunks = self._database.schema.carves, self._database.schema.chunks
        runs, lanes = self._database.schema.runs, self._database.schema.lanes
        last = (
            select(chunks.c.number, chunks.c.upto, chunks.c.rows_upto)
            .where(chunks.c.run_id == run_id)
            .order_by(chunks.c.number.desc(), chunks.c.path.desc())
            .limit(1)
            .subquery()
        )
        busy = func.coalesce((carves.c.walker != lane) & (carves.c.walker_until > clock()), False)
        crew = select(func.count()).where(lanes.c.run_id == run_id).scalar_subquery()
        row = connection.execute(
            select(carves.c.exhausted_at, carves.c.scout, busy.label("busy"), last)
            .add_columns(runs.c.throttle, runs.c.rows_estimate, crew.label("crew"))
            .select_from(
                carves.join(runs, runs.c.id == carves.c.run_id).outerjoin(last, text("1 = 1"))
            )
            .where(carves.c.run_id == run_id)
        ).one()
        return Frontier(
            number=row.number or 0,
            upto=None if row.upto is None else decode_key(row.upto),
            rows=row.rows_upto or 0,
            exhausted=row.exhausted_at is not None,
            scout=None if row.scout is None else Scout.decoded(row.scout),
            walker_busy=bool(row.busy),
            throttle=Throttle.from_json(row.throttle),
            expected=row.rows_estimate,
            lanes=row.crew,
        )

    def last_number(self, connection: Connection, run_id: RunId) -> int:
        """The number of the last chunk carved; 0 before the first."""
        chunks = self._database.schema.chunks
        query = select(func.max(chunks.c.number)).where(chunks.c.run_id == run_id)
        return int(connection.execute(query).scalar() or 0)

    def may_work(self, connection: Connection, run_id: RunId, lane: UUID) -> bool:
        """Whether the run still wants work, and of this lane.

        It does not of one that has been declared dead, nor of one too many.
        """
        return self.terms(connection, run_id, lane) is not None

    def terms(self, connection: Connection, run_id: RunId, lane: UUID) -> Throttle | None:
        """On what a run holds back that still wants work of this lane; None when it does not."""
        runs, lanes = self._database.schema.runs, self._database.schema.lanes
        place = self._database.schema.place(lanes.c.number)
        question = select(runs.c.throttle).where(
            runs.c.id == run_id,
            runs.c.status.in_([str(status) for status in WORKABLE]),
            exists().where(lanes.c.token == lane, place),
        )
        row = connection.execute(question).one_or_none()
        return None if row is None else Throttle.from_json(row.throttle)

    def carve(
        self,
        connection: Connection,
        run_id: RunId,
        frontier: Frontier,
        cuts: Sequence[Cut],
        *,
        lane: int,
        owner: UUID,
        exhausts: bool,
    ) -> list[Claim]:
        """Insert the next chunks as this lane's own: one statement, whatever their number.

        Args:
            owner: a new token, which the lane has noted before: if the answer to COMMIT is lost,
                it can still ask what is its own.
        """
        claims, records = [], []
        number, total = frontier.number, frontier.rows
        for cut in cuts:
            number, total = number + 1, total + cut.rows
            after, upto = cut.bounds.encoded()
            records.append(
                {"n": number, "after": after, "upto": upto, "r": cut.rows, "total": total}
            )
            ref = ChunkRef(run_id, number)
            claims.append(Claim(ref, cut.bounds, cut.rows, _NEVER_STARTED, owner))
        connection.execute(
            self._insert(),
            {
                "run": run_id,
                "lane": lane,
                "owner": _bound(owner, self._database),
                "records": json.dumps(records),
            },
        )
        if exhausts or frontier.scout is not None:
            carves = self._database.schema.carves
            values: dict[str, Any] = {"scout": None, "walker": None, "walker_until": None}
            if exhausts:
                values["exhausted_at"] = clock()
            connection.execute(update(carves).where(carves.c.run_id == run_id).values(values))
        return claims

    def note_scout(
        self, connection: Connection, run_id: RunId, lane: UUID, scout: Scout, seconds: float
    ) -> None:
        """Remember how far the walk has got, so that whoever goes on need not start again."""
        carves = self._database.schema.carves
        connection.execute(
            update(carves)
            .where(carves.c.run_id == run_id)
            .values(scout=scout.encoded(), walker=lane, walker_until=clock(seconds))
        )

    def any_waiting(self, connection: Connection, run_id: RunId) -> bool:
        """Whether a waiting chunk's time has come. Asked without any lock."""
        waiting = self._database.schema.waiting
        # In a subquery of its own the clock is read once, so that the index can be asked.
        now = select(clock()).scalar_subquery()
        question = exists().where(waiting.c.run_id == run_id, waiting.c.not_before <= now)
        return bool(connection.execute(select(question)).scalar())

    def claim_waiting(
        self, connection: Connection, run_id: RunId, *, lane: int, owner: UUID, limit: int
    ) -> list[Claim]:
        """Take over waiting chunks whose time has come; call it with the carve row locked.

        The attempt is on record, committed, before its work begins. Of what has waited longest
        the lowest keys come first, and among the parts of one chunk those that were not tried
        yet: both halves, then down to the first row that fails.
        """
        waiting = self._database.schema.waiting
        now = select(clock()).scalar_subquery()
        oldest = (
            select(waiting.c.number, waiting.c.path, waiting.c.tried, waiting.c.spent)
            .where(waiting.c.run_id == run_id, waiting.c.not_before <= now)
            .order_by(waiting.c.not_before)
            .limit(max(limit, _OLDEST))
            .subquery()
        )
        due = connection.execute(
            select(oldest).order_by(oldest.c.number, oldest.c.tried, oldest.c.path).limit(limit)
        ).all()
        if not due:
            return []
        spent = {(row.number, row.path) for row in due if row.spent}
        names = [(row.number, row.path) for row in due]
        return self.claim(connection, run_id, names, lane=lane, owner=owner, spent=spent)

    def claim(
        self,
        connection: Connection,
        run_id: RunId,
        names: Sequence[tuple[int, str]],
        *,
        lane: int,
        owner: UUID,
        spent: Collection[tuple[int, str]] = (),
    ) -> list[Claim]:
        """Take over these waiting chunks; call it with the carve row locked.

        Args:
            names: number and path of each.
            spent: which of them have had their tries.
        """
        waiting, chunks = self._database.schema.waiting, self._database.schema.chunks
        connection.execute(
            delete(waiting).where(
                waiting.c.run_id == run_id, tuple_(waiting.c.number, waiting.c.path).in_(names)
            )
        )
        rows = connection.execute(
            update(chunks)
            .where(chunks.c.run_id == run_id, tuple_(chunks.c.number, chunks.c.path).in_(names))
            .values(
                status=str(ChunkStatus.CARVED),
                owner=owner,
                lane=lane,
                attempt=chunks.c.attempt + 1,
            )
            .returning(chunks)
        )
        claims = (claim_of(row, spent=(row.number, row.path) in spent) for row in rows)
        return sorted(claims, key=lambda claim: _order(claim.ref))

    def held_by(self, connection: Connection, run_id: RunId, owners: Sequence[UUID]) -> list[Claim]:
        """The claims that really carry these tokens, in the order of work.

        Read again after every lost connection: a crash of the database may have undone a claim
        that was not durable yet, and somebody else carved it anew with other bounds (reproduced).
        """
        chunks = self._database.schema.chunks
        rows = connection.execute(
            select(chunks).where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.CARVED]),
                chunks.c.owner.in_(list(owners)),
            )
        )
        return sorted((claim_of(row) for row in rows), key=lambda claim: _order(claim.ref))

    def held_by_lane(self, connection: Connection, run_id: RunId, lane: int) -> list[Claim]:
        """All claims of a lane number; the first is the one in flight, a lane works in order."""
        chunks = self._database.schema.chunks
        rows = connection.execute(
            select(chunks).where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.CARVED]),
                chunks.c.lane == lane,
            )
        )
        return sorted((claim_of(row) for row in rows), key=lambda claim: _order(claim.ref))

    def orphaned(self, connection: Connection, run_id: RunId) -> list[Claim]:
        """Claims of a lane that is not there; call it with the carve row locked.

        A lane's place is not durable at once. A crash of the database may undo it while the
        chunks that the lane has claimed since are kept.
        """
        chunks, lanes = self._database.schema.chunks, self._database.schema.lanes
        rows = connection.execute(
            select(chunks).where(
                chunks.c.run_id == run_id,
                self._database.schema.open_chunks([ChunkStatus.CARVED]),
                ~exists().where(lanes.c.run_id == run_id, lanes.c.number == chunks.c.lane),
            )
        )
        return [claim_of(row) for row in rows]

    def give_back(
        self,
        connection: Connection,
        claim: Claim,
        *,
        wait: float,
        attempt_spent: bool,
        spent: bool = False,
        lost: bool = False,
        snoozed: bool = False,
        troubled: int = 0,
    ) -> bool:
        """Put a chunk back to wait; False when it is no longer this claim's to give.

        Args:
            spent: it has had its tries, so whoever claims it next decides what becomes of it.
            troubled: for how many seconds it has been tried in vain, at no cost.
        """
        waiting, chunks = self._database.schema.waiting, self._database.schema.chunks
        result = connection.execute(
            update(chunks)
            .where(*self._mine(claim))
            .values(
                status=str(ChunkStatus.WAITING),
                owner=None,
                attempt=chunks.c.attempt - (0 if attempt_spent else 1),
                losses=chunks.c.losses + int(lost),
                snoozes=chunks.c.snoozes + int(snoozed),
                troubled=troubled,
            )
        )
        if result.rowcount != 1:
            return False
        ref = claim.ref
        connection.execute(
            insert(waiting).values(
                run_id=ref.run_id,
                number=ref.number,
                path=ref.path,
                not_before=clock(wait),
                tried=attempt_spent,
                spent=spent,
            )
        )
        return True

    def owns(self, connection: Connection, claim: Claim) -> bool:
        """Whether the chunk is still this claim's."""
        chunks = self._database.schema.chunks
        query = select(chunks.c.number).where(*self._mine(claim))
        return connection.execute(query).one_or_none() is not None

    def retire(
        self, connection: Connection, claim: Claim, status: ChunkStatus, *, rows: int
    ) -> bool:
        """Give a chunk its last status; False when it is no longer this claim's.

        Args:
            rows: how many rows that concerns now; some may have gone since it was carved.
        """
        result = connection.execute(
            update(self._database.schema.chunks)
            .where(*self._mine(claim))
            .values(status=str(status), owner=None, rows=rows, ended_at=clock())
        )
        return result.rowcount == 1

    def split(
        self, connection: Connection, claim: Claim, halves: Sequence[Cut], names: str = HALVES
    ) -> bool:
        """Put two halves in a chunk's place, to be tried; False when it is no longer this claim's.

        They keep its number, so the highest number is the frontier still.

        Args:
            names: what is added to its path for each.
        """
        schema, ref = self._database.schema, claim.ref
        chunks = schema.chunks
        parent = connection.execute(
            update(chunks)
            .where(*self._mine(claim))
            .values(status=str(ChunkStatus.SPLIT), owner=None, ended_at=clock())
            .returning(chunks.c.rows_upto)
        ).one_or_none()
        if parent is None:
            return False
        own = {"run_id": ref.run_id, "number": ref.number}
        for name, half in zip(names, halves, strict=True):
            path = f"{ref.path}{name}"
            after, upto = half.bounds.encoded()
            connection.execute(
                insert(chunks).values(
                    **own,
                    path=path,
                    status=str(ChunkStatus.WAITING),
                    after=after,
                    upto=upto,
                    rows=half.rows,
                    rows_upto=parent.rows_upto,
                    attempt=0,
                )
            )
            connection.execute(insert(schema.waiting).values(**own, path=path, not_before=clock()))
        return True

    def exhausted(self, connection: Connection, run_id: RunId) -> bool:
        """Whether nothing is left to carve: a fact, written once under the carve row's lock."""
        carves = self._database.schema.carves
        return bool(
            connection.execute(
                select(carves.c.exhausted_at.is_not(None)).where(carves.c.run_id == run_id)
            ).scalar()
        )

    def _mine(self, claim: Claim) -> tuple[Any, ...]:
        chunks, ref = self._database.schema.chunks, claim.ref
        return (
            chunks.c.run_id == ref.run_id,
            chunks.c.number == ref.number,
            chunks.c.path == ref.path,
            chunks.c.owner == claim.owner,
        )

    def _insert(self) -> Any:
        schema = self._database.schema
        chunks = schema.chunks.fullname
        columns = "run_id, number, path, status, owner, lane, after, upto, rows, rows_upto, attempt"
        if self._database.is_postgresql:
            return text(
                f"INSERT INTO {chunks} ({columns})"  # noqa: S608  (names from our own schema)
                " SELECT :run, c.n, '', 'carved', CAST(:owner AS uuid), :lane,"
                " c.after, c.upto, c.r, c.total, 1"
                " FROM json_to_recordset(CAST(:records AS json))"
                " AS c (n int, after text, upto text, r int, total bigint)"
            )
        fields = ", ".join(
            f"json_extract(value, '$.{name}')" for name in ("after", "upto", "r", "total")
        )
        return text(
            f"INSERT INTO {chunks} ({columns})"  # noqa: S608  (names from our own schema)
            f" SELECT :run, json_extract(value, '$.n'), '', 'carved', :owner, :lane, {fields}, 1"
            " FROM json_each(:records)"
        )


def _bound(owner: UUID, database: Database) -> str:
    return str(owner) if database.is_postgresql else owner.hex


def _order(ref: ChunkRef) -> tuple[int, str]:
    return (ref.number, ref.path)


def claim_of(row: Any, *, spent: bool = False) -> Claim:
    """The claim that a chunk's row tells of."""
    return Claim(
        ref=ChunkRef(RunId(row.run_id), row.number, row.path),
        bounds=Bounds.decoded(row.after, row.upto),
        rows=row.rows,
        attempt=row.attempt,
        owner=row.owner,
        losses=row.losses,
        snoozes=row.snoozes,
        troubled=row.troubled,
        spent=spent,
        waited=True,
    )
