"""Taking over what another lane holds and has not begun, once nothing is left to carve.

A lane carves about a second's work ahead. Where rows become much slower that may be an hour's, and
it would be at it alone. So a lane with nothing to do takes half of what the lane with most of it
has not begun, and where not enough is left for all that have nothing to do, half of a chunk.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from breakbulk.domain.chunk import SHARES, Claim, failed_part
from breakbulk.domain.keys import Key
from breakbulk.domain.run import Run
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.takeovers import Tail
from breakbulk.runner.carve import use_cap
from breakbulk.runner.isolate import halves
from breakbulk.runner.runtime import Runtime
from breakbulk.sources import Source

log = logging.getLogger("breakbulk.lane")


@dataclass(frozen=True, slots=True)
class Taken:
    """What one try to take over gave.

    Attributes:
        wait: seconds until others hold what may be taken; 0: they hold nothing.
        moved: somebody else was faster: try again.
    """

    claims: tuple[Claim, ...] = ()
    wait: float = 0.0
    moved: bool = False


@dataclass(frozen=True, slots=True)
class TakeOver:
    """How a lane takes over.

    Attributes:
        connection: idle, to the ledger.
        data: idle, to the rows; the same connection where they are in one database.
    """

    runtime: Runtime
    connection: Connection
    data: Connection
    run: Run
    lane: Lane
    source: Source[object]

    def attempt(self, owner: UUID, *, tell: bool) -> Taken:
        """Try once.

        Nothing is taken in the first ``carve_seconds`` after the last chunk was carved. So whoever
        has claimed chunks knows for so long that they are its own, and need not ask.

        Args:
            owner: a new token, noted by the lane.
            tell: the run's activity is to tell of it.
        """
        ledger, database, run_id = self.runtime.ledger, self.runtime.database, self.run.id
        with database.reading(self.connection):
            tail = ledger.takeovers.tail(self.connection, run_id, self.lane.number)
        if tail is None:
            return Taken()
        if (wait := self.runtime.settings.carve_seconds - tail.age) > 0:
            return Taken(wait=wait)
        largest = self._to_share(tail)
        # Before any lock: this may read as much as the chunk itself would.
        keys = [] if largest is None else self._keys(largest)
        with database.transaction(self.connection):
            if not ledger.claims.lock(self.connection, run_id, wait=False):
                return Taken(moved=True)
            if not ledger.claims.may_work(self.connection, run_id, self.lane.token):
                return Taken()
            held = ledger.claims.held_by_lane(self.connection, run_id, tail.lane)
            wanted = upper_half(held)
            if not wanted or not ledger.takeovers.pin(self.connection, held[0]):
                return Taken(moved=True)
            claims = ledger.takeovers.take(
                self.connection, wanted, lane=self.lane.number, owner=owner
            )
            shared = None
            if largest is not None and len(keys) > 1:
                shared = next((one for one in claims if one.ref == largest.ref), None)
            if shared is not None:
                claims = self._share(claims, shared, keys)
            noun = self.run.nouns.chunk
            detail = f"{len(claims)} of lane {tail.lane}'s {noun}s that it had not begun"
            if shared is not None:
                detail += f"; shared out {noun} {shared.ref}"
            if tell:
                actor = f"lane {self.lane.number}"
                ledger.runs.note(
                    self.connection, run_id, actor=actor, verb="took over", detail=detail
                )
        log.info("run %s: lane %d took over %s", run_id, self.lane.number, detail)
        return Taken(tuple(claims))

    def _to_share(self, tail: Tail) -> Claim | None:
        """The largest chunk that is about to be taken, if there are not enough for all of us.

        For those, too, that are not there: to what is shared out lanes come, and to nothing else.
        """
        ledger, connection, run = self.runtime.ledger, self.connection, self.run
        with self.runtime.database.reading(connection):
            slots = ledger.workers.slots(connection).get((run.queue, run.job), 1)
            if ledger.takeovers.idle_lanes(connection, run.id, slots) <= tail.chunks:
                return None
            held = ledger.claims.held_by_lane(connection, run.id, tail.lane)
            largest = max(upper_half(held), key=lambda one: one.rows, default=None)
            if largest is None or not _is_fresh(largest):
                return None
            pace = ledger.takeovers.row_seconds(connection, run.id, largest.ref.number)
        worth_it = pace is not None and pace * largest.rows > self.runtime.settings.carve_seconds
        return largest if worth_it else None

    def _keys(self, claim: Claim) -> list[Key]:
        with self.runtime.data.reading(self.data):
            return list(self.source.keys(self.data, claim.bounds))

    def _share(self, claims: list[Claim], shared: Claim, keys: list[Key]) -> list[Claim]:
        """Leave the upper half of a chunk to the next who has nothing to do, and keep the lower."""
        ledger, connection, ref = self.runtime.ledger, self.connection, shared.ref
        lower, upper = halves(shared.bounds, keys)
        ledger.claims.split(connection, shared, (lower, upper), SHARES)
        kept = ledger.claims.claim(
            connection,
            ref.run_id,
            [(ref.number, f"{ref.path}{SHARES[0]}")],
            lane=self.lane.number,
            owner=shared.owner,
        )
        # Its rows were begun when it was carved, and are begun once more when it is claimed.
        cap = self.runtime.ledger.throttles.cap(connection, self.run.id)
        use_cap(self.runtime, connection, self.run.id, cap, -upper.rows)
        place = claims.index(shared)
        return [*claims[:place], *kept, *claims[place + 1 :]]


def upper_half(held: list[Claim]) -> list[Claim]:
    """What is taken of a lane's chunks: never the lowest, which is in hand, or is next."""
    return held[1 + (len(held) - 1) // 2 :]


def _is_fresh(claim: Claim) -> bool:
    """Whether nothing has befallen a chunk since it was carved, and there is anything to share."""
    befell = claim.losses or claim.snoozes or claim.troubled or failed_part(claim.ref.path)
    return claim.attempt == 1 and not befell and claim.rows > 1
