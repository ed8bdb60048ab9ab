"""The chunks that a lane holds, and how it comes by more.

A lane works in order, so the chunk in hand is always the lowest of those it holds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.allowance import PATIENCE
from breakbulk.domain.chunk import ChunkRef, Claim
from breakbulk.domain.failure import Failure
from breakbulk.domain.run import Run
from breakbulk.errors import SourceError
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.carve import Carved, Ground, cap_wait, carve, use_cap
from breakbulk.runner.pacing import Crowd, Pace
from breakbulk.runner.patience import Backoff
from breakbulk.runner.runtime import Process, Runtime
from breakbulk.runner.takeover import TakeOver
from breakbulk.sources import Source

_WALK_WAIT = 0.1
#: How long a lane waits for a source that gives nothing new, in seconds, before it leaves its slot
#: to others.
_LOADING_PATIENCE = 1.0
#: How often a lane looks whether others still hold what it is soon to take over, in seconds.
_TAIL_WAIT = 0.2


#: Of what a lane takes at a time: less than this is not worth a carve before the very end.
_WORTH = 0.1


class ConnectionGone(Exception):
    """The connection is gone: go on with a new one, after settling a doubtful commit."""

    def __init__(self, doubtful: Claim | None) -> None:
        super().__init__("connection lost")
        self.doubtful = doubtful


@dataclass(slots=True)
class Slice:
    """How long a lane may work, and how it learns that it must stop earlier."""

    until: float
    process: Process

    def over(self) -> bool:
        """Whether the lane should let go after the chunk in hand."""
        return time.monotonic() >= self.until or self.process.stopping()

    def left(self) -> float:
        """Seconds left."""
        return max(0.0, self.until - time.monotonic())


class Hand:
    """What one lane holds.

    Attributes:
        idle: nothing is left to carve, and nothing waits that is due.
        suspicious: everything fails alike; nothing new is begun until something works.
    """

    def __init__(self, runtime: Runtime, lane: Lane, run: Run, piece: Slice) -> None:
        self._runtime = runtime
        self._lane = lane
        self._run = run
        self._slice = piece
        self._claims: list[Claim] = []
        self._owners: set[UUID] = set()
        self._pace = Pace(runtime.settings.max_carve)
        self._crowd = Crowd()
        self._backoff = Backoff()
        self._looked_at = float("-inf")
        self._fresh_next = False
        self._cap_wait = 0.0
        self._own_until = float("-inf")
        self._exhausted = False
        self._safe: ChunkRef | None = None
        self._told = False
        self.suspicious = False
        self.idle = False

    @property
    def lowest(self) -> Claim | None:
        """The chunk in hand."""
        return self._claims[0] if self._claims else None

    @property
    def others(self) -> list[Claim]:
        """What is held and not begun."""
        return self._claims[1:]

    @property
    def owners(self) -> list[UUID]:
        """The tokens under which anything may be held."""
        return list(self._owners)

    def done(self, seconds: float) -> None:
        """The chunk in hand has been committed, after so many seconds."""
        self.suspicious = False
        self._pace.observe(seconds)
        del self._claims[0]

    def put_down(self, *, all_others: bool = False, look: bool = False) -> None:
        """The chunk in hand is no longer this lane's.

        Args:
            all_others: nor are those that were not begun.
            look: what waits has changed, so look before it is time to.
        """
        del self._claims[: None if all_others else 1]
        if look:
            self._looked_at = float("-inf")

    def reread(self, connection: Connection) -> None:
        """Believe only what the ledger says: after a lost connection, or a lost claim."""
        with self._runtime.database.reading(connection):
            self._claims = self._runtime.ledger.claims.held_by(
                connection, self._run.id, self.owners
            )
        self._safe = self._claims[0].ref if self._claims else None

    def keeps(self, connection: Connection) -> bool:
        """Whether the chunk in hand is still this lane's; if not, what others took is put down.

        Others take what a lane has not begun, but never its lowest, and nothing at all until
        ``carve_seconds`` after the last chunk was carved. So it is asked only where it may be so.
        """
        at = self._claims[0]
        if at.ref == self._safe or not (self._exhausted or time.monotonic() >= self._own_until):
            return True
        claims, run_id, now = self._runtime.ledger.claims, self._run.id, time.monotonic()
        with self._runtime.database.reading(connection):
            self._exhausted = self._exhausted or claims.exhausted(connection, run_id)
            if not self._exhausted:
                self._own_until = now + self._runtime.settings.carve_seconds
                return True
            if kept := claims.owns(connection, at):
                self._safe = at.ref
            else:
                rest = claims.held_by(connection, run_id, self.owners)
                held = {(one.ref, one.owner) for one in rest}
                self._claims = [one for one in self._claims if (one.ref, one.owner) in held]
        return kept

    def fill(self, connection: Connection, data: Connection, source: Source[object]) -> bool:
        """Get more to do: waiting chunks first, once a second, then fresh ones.

        Never waiting ones twice in a row while there are fresh ones: these tell whether anything
        succeeds at all, and a chunk that is being split does not keep the rest from its turn.
        """
        budget = self._crowd.seconds(self._runtime.settings.carve_seconds)
        budget = min(budget, max(self._slice.left(), 0.05))
        wanted = 1 if self.suspicious else self._pace.chunks_in(budget)
        least = self._pace.chunks_in(budget * _WORTH)
        fresh, self._fresh_next = self._fresh_next, False
        if not fresh and self._time_to_look() and self._claim_waiting(connection, wanted):
            self._fresh_next = not self.suspicious
            return True
        patient_until = time.monotonic() + _LOADING_PATIENCE
        while not self._slice.over():
            asked_at = time.monotonic()
            carved = self._carve(connection, data, source, wanted, least)
            if carved.claims:
                # failpoint: after carve
                self._crowd.passed(carved.lanes)
                self._pace.got(len(carved.claims), time.monotonic() - asked_at)
                self._take(list(carved.claims), asked_at)
                return True
            if carved.ground is Ground.WALKING:
                continue
            if carved.ground is Ground.MOVED:
                self._crowd.wait()
                continue
            patient = time.monotonic() < patient_until
            goes_on = self._instead(connection, wanted, carved, fresh=fresh, patient=patient)
            if goes_on is False and carved.ground is Ground.EXHAUSTED:
                goes_on = self._take_over(connection, data, source)
            if goes_on is not None:
                return goes_on
        return False

    def _instead(
        self, connection: Connection, wanted: int, carved: Carved, *, fresh: bool, patient: bool
    ) -> bool | None:
        """What to do where nothing fresh is to be had; None: try again for that."""
        ground = carved.ground
        if ground is Ground.CAPPED:
            return self._under_cap(connection, wanted, carved.wait, fresh=fresh)
        if ground in (Ground.EXHAUSTED, Ground.STOPPED):
            self.idle = ground is Ground.EXHAUSTED
            if self.idle and self._claim_waiting(connection, wanted):
                return True
            return None if self.idle and self._sleep(self._cap_wait) else False
        if self._time_to_look() and self._claim_waiting(connection, wanted):
            return True
        if ground is Ground.LOADING and not patient:
            return False
        time.sleep(_WALK_WAIT)
        return None

    def _under_cap(
        self, connection: Connection, wanted: int, wait: float, *, fresh: bool
    ) -> bool | None:
        if not self._sleep(wait):
            return False
        # What waits would never find anything of a cap left, unless it is asked for right then.
        if not fresh and self._time_to_look() and self._claim_waiting(connection, wanted):
            self._fresh_next = not self.suspicious
            return True
        return None

    def _carve(
        self,
        connection: Connection,
        data: Connection,
        source: Source[object],
        wanted: int,
        least: int,
    ) -> Carved:
        try:
            carved = carve(
                self._runtime,
                connection,
                data,
                run=self._run,
                lane=self._lane,
                source=source,
                chunks=wanted,
                least=least,
                owner=self._new_owner(),
                wait=False,
            )
        except DBAPIError as error:
            self._sit_out(error, "no chunk can be carved")
            return Carved(ground=Ground.MOVED)
        self._backoff.reset()
        return carved

    def _take_over(
        self, connection: Connection, data: Connection, source: Source[object]
    ) -> bool | None:
        """Take what another lane has not begun; None: look again, for there is something."""
        if self.suspicious:
            return False
        self._exhausted = True
        taking = TakeOver(self._runtime, connection, data, self._run, self._lane, source)
        asked_at = time.monotonic()
        try:
            taken = taking.attempt(self._new_owner(), tell=not self._told)
        except DBAPIError as error:
            self._sit_out(error, "nothing can be taken over")
            return None
        self._backoff.reset()
        if taken.claims:
            # failpoint: after takeover
            self._told, self.idle = True, False
            self._take(list(taken.claims), asked_at)
            return True
        if taken.moved:
            self._crowd.wait()
            return None
        return None if self._sleep(min(taken.wait, _TAIL_WAIT)) else False

    def _sit_out(self, error: DBAPIError, what: str) -> None:
        """Wait for a trouble that goes away; any other is raised.

        Args:
            what: does not work.
        """
        fault = fault_of(error, ours=True)
        if fault is Fault.CONNECTION:
            raise ConnectionGone(None) from error
        if fault is Fault.DATABASE:
            raise error
        if fault is not Fault.TRANSIENT:
            raise SourceError(f"{what}: {Failure.of(error)}") from error
        self._backoff.wait()

    def _claim_waiting(self, connection: Connection, wanted: int) -> bool:
        ledger, database, run_id = self._runtime.ledger, self._runtime.database, self._run.id
        asked_at = time.monotonic()
        self._looked_at, self._cap_wait = asked_at, 0.0
        with database.reading(connection):
            if not ledger.claims.any_waiting(connection, run_id):
                return False
        owner = self._new_owner()
        with database.transaction(connection):
            ledger.claims.lock(connection, run_id)
            terms = ledger.claims.terms(connection, run_id, self._lane.token)
            if terms is None:
                return False
            cap = terms.max_rows_per_second
            self._cap_wait = cap_wait(self._runtime, connection, run_id, cap)
            if self._cap_wait:
                self._looked_at = float("-inf")
                return False
            claims = ledger.claims.claim_waiting(
                connection,
                run_id,
                lane=self._lane.number,
                owner=owner,
                # By and by under a cap, however many wait.
                limit=wanted if cap is None else 1,
            )
            use_cap(self._runtime, connection, run_id, cap, sum(claim.rows for claim in claims))
            if len(claims) > 1 and not self._exhausted:
                self._exhausted = ledger.claims.exhausted(connection, run_id)
        self._take(claims, asked_at)
        return bool(claims)

    def _sleep(self, seconds: float) -> bool:
        """Wait under a cap, with nothing in hand; False when that is not worth a slot."""
        if not 0 < seconds <= PATIENCE:
            return False
        until = time.monotonic() + seconds
        while not self._slice.over() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _WALK_WAIT))
        return True

    def _new_owner(self) -> UUID:
        """A token for the next claim, noted before it: the answer to its COMMIT may be lost."""
        if not self._claims:
            # What the last ones were for is done with.
            self._owners.clear()
        owner = uuid4()
        self._owners.add(owner)
        return owner

    def _time_to_look(self) -> bool:
        return time.monotonic() - self._looked_at >= self._runtime.settings.poll_seconds

    def _take(self, claims: list[Claim], asked_at: float) -> None:
        """Hold these as well; what made them this lane's was asked after ``asked_at``."""
        self._claims += claims
        self._claims.sort(key=lambda claim: (claim.ref.number, claim.ref.path))
        self._own_until = asked_at + self._runtime.settings.carve_seconds
        self._safe = self._claims[0].ref if self._claims else None
