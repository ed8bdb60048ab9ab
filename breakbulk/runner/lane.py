"""One lane's stay in one run: the loop that works through chunks.

A lane works in order, so the chunk in hand is always the lowest of those it holds. Whatever
happens it either signs off, giving back what it has not done, or it is found dead by its
steward, who does the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.chunk import Claim
from breakbulk.domain.failure import Failure
from breakbulk.domain.run import Run
from breakbulk.domain.status import WORKABLE, RunStatus
from breakbulk.errors import (
    BreakbulkError,
    CancelRun,
    KeyChanged,
    LostClaim,
    Snooze,
    SourceChanged,
    SourceError,
    TransactionMisuse,
)
from breakbulk.jobs import JobRun
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.attempt import DoubtfulCommit, Tally, Work
from breakbulk.runner.carve import Carved, Ground, carve
from breakbulk.runner.isolate import Isolation, note_failure, spent
from breakbulk.runner.pacing import Pace
from breakbulk.runner.runtime import Process, Runtime

log = logging.getLogger("breakbulk.lane")

_WALK_WAIT = 0.1
_TRANSIENT_WAIT = 0.05


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


class LaneWork:
    """One lane's stay in one run.

    Args:
        lane: its place.
        run: as it was when the lane entered.
        piece: how long it may stay.
    """

    def __init__(self, runtime: Runtime, lane: Lane, run: Run, piece: Slice) -> None:
        self._runtime = runtime
        self._lane = lane
        self._run = run
        self._slice = piece
        self._claims: list[Claim] = []
        self._owners: set[UUID] = set()
        self._pace = Pace(runtime.settings.max_carve)
        self._tally = Tally(written_at=time.monotonic())
        self._looked_at = float("-inf")
        self._troubled_since: dict[str, float] = {}
        self._doubtful_tally = False
        self._fresh_next = self._suspicious = False
        self._slot: int | None = None
        self.idle = False

    def stay(self, connection: Connection, data: Connection) -> None:
        """Work until the slice ends, the run wants no more, or there is nothing to do."""
        deadlines = self._slice.process.deadlines
        self._slot = None if deadlines is None else deadlines.take()
        try:
            self._stay(connection, data)
        finally:
            if deadlines is not None:
                deadlines.give_back(self._slot)

    def _stay(self, connection: Connection, data: Connection) -> None:
        try:
            work = self._begin()
            while not self._slice.over():
                if not self._claims and not self._fill(connection, data, work):
                    return
                if self._claims and not self._next(connection, data, work):
                    return
        except BreakbulkError as error:
            self._hold(connection, str(error))
        except Exception as error:
            expected = (ConnectionGone, DBAPIError, *self._slice.process.interruptions)
            if isinstance(error, expected):
                raise
            # Of the job, but not of a chunk: every lane would meet it again, and for nothing.
            log.exception("run %s: an error outside process()", self._run.id)
            self._hold(connection, f"the job cannot be worked on: {Failure.of(error)}")

    def sign_off(self, connection: Connection) -> None:
        """Give back what was not done, write down the rest of the tally, and leave."""
        ledger, run_id = self._runtime.ledger, self._run.id
        with self._runtime.database.transaction(connection):
            ledger.claims.lock(connection, run_id)
            for claim in ledger.claims.held_by(connection, run_id, list(self._owners)):
                ledger.claims.give_back(connection, claim, wait=0, attempt_spent=False)
            self._tell(connection)
            ledger.lanes.leave(connection, self._lane.token)

    def committed_after_all(self, claim: Claim) -> None:
        """The COMMIT whose answer was lost had happened: count the chunk."""
        self._tally.count(claim.rows, written=self._doubtful_tally)

    def forget_claims(self, connection: Connection) -> None:
        """After a lost connection: believe only what the ledger says."""
        with self._runtime.database.reading(connection):
            self._claims = self._runtime.ledger.claims.held_by(
                connection, self._run.id, list(self._owners)
            )

    def _tell(self, connection: Connection) -> None:
        """Write down what was done since the last tally."""
        if self._tally.chunks:
            self._runtime.ledger.chunks.tally(
                connection, self._run.id, self._lane.number, self._tally.chunks, self._tally.rows
            )
            self._tally.clear()

    def _begin(self) -> Work:
        """Build the job and its source, and make sure they are what was submitted.

        Raises:
            BreakbulkError: they are not; only a human can put that right.
        """
        run, runtime = self._run, self._runtime
        spec = runtime.jobs.get(run.job)
        job = spec.build(run.parameters)
        try:
            source = spec.source(job, JobRun(run.submitted_at, run.id))
        except Exception as error:
            if isinstance(error, (BreakbulkError, *self._slice.process.interruptions)):
                raise
            raise SourceError(f"source() raised {Failure.of(error)}") from error
        if source.fingerprint != run.fingerprint:
            raise SourceChanged(
                "source changed: it gives another statement here than at submit; deploy the same"
                " code everywhere and resume, or cancel and submit again"
            )
        return Work(runtime, run, job, source, self._lane.number, self._tally)

    def _fill(self, connection: Connection, data: Connection, work: Work) -> bool:
        """Get more to do: waiting chunks first, once a second, then fresh ones.

        Never waiting ones twice in a row while there are fresh ones: these tell whether anything
        succeeds at all, and a chunk that is being split does not keep the rest from its turn.
        """
        budget = min(self._runtime.settings.carve_seconds, max(self._slice.left(), 0.05))
        wanted = 1 if self._suspicious else self._pace.chunks_in(budget)
        fresh, self._fresh_next = self._fresh_next, False
        if not fresh and self._time_to_look() and self._claim_waiting(connection, wanted):
            self._fresh_next = not self._suspicious
            return True
        while not self._slice.over():
            carved = self._carve(connection, data, work, wanted)
            if carved.claims:
                self._take(list(carved.claims))
                return True
            if carved.ground is Ground.WALKED_BY_ANOTHER:
                if self._time_to_look() and self._claim_waiting(connection, wanted):
                    return True
                time.sleep(_WALK_WAIT)
            elif carved.ground is not Ground.MOVED:
                self.idle = carved.ground is Ground.EXHAUSTED
                return self.idle and self._claim_waiting(connection, wanted)
        return False

    def _carve(self, connection: Connection, data: Connection, work: Work, wanted: int) -> Carved:
        try:
            return carve(
                self._runtime,
                connection,
                data,
                run=self._run,
                lane=self._lane,
                source=work.source,
                chunks=wanted,
                owner=self._new_owner(),
            )
        except DBAPIError as error:
            fault = fault_of(error)
            if fault is Fault.CONNECTION:
                raise ConnectionGone(None) from error
            if fault is Fault.TRANSIENT:
                time.sleep(_TRANSIENT_WAIT)
                return Carved(ground=Ground.MOVED)
            raise SourceError(f"the rows cannot be walked: {Failure.of(error)}") from error

    def _claim_waiting(self, connection: Connection, wanted: int) -> bool:
        ledger, database, run_id = self._runtime.ledger, self._runtime.database, self._run.id
        self._looked_at = time.monotonic()
        with database.reading(connection):
            if not ledger.claims.any_waiting(connection, run_id):
                return False
        owner = self._new_owner()
        with database.transaction(connection):
            ledger.claims.lock(connection, run_id)
            if not ledger.claims.may_work(connection, run_id, self._lane.token):
                return False
            claims = ledger.claims.claim_waiting(
                connection, run_id, lane=self._lane.number, owner=owner, limit=wanted
            )
        self._take(claims)
        return bool(claims)

    def _next(self, connection: Connection, data: Connection, work: Work) -> bool:
        """Work on the lowest chunk in hand; False when the lane should leave."""
        claim = self._claims[0]
        if spent(self._run, claim):
            return self._resolve(connection, data, work, claim)
        began = time.monotonic()
        try:
            with self._within_time():
                status = work.attempt(connection, data, claim)
        except DoubtfulCommit as doubt:
            self._doubtful_tally = doubt.tallied
            raise ConnectionGone(claim) from doubt
        except LostClaim as lost:
            log.warning("%s", lost)
            self.forget_claims(connection)
            return self._still_here(connection)
        except Snooze as snooze:
            return self._snooze(connection, claim, snooze)
        except CancelRun as cancel:
            self._cancel(connection, claim, cancel)
            return False
        except KeyChanged:
            # A mistake in the job, not in these rows: every chunk would fail alike.
            raise
        except Exception as error:  # noqa: BLE001  (user code may raise anything)
            return self._failed(connection, claim, error, time.monotonic() - began)
        except BaseException as error:
            # Of a shutdown, or process() raised it: then it would do so again and again.
            if not self._slice.process.stopping():
                self._record(connection, claim, Failure.of(error), time.monotonic() - began)
            raise
        self._suspicious = False
        self._pace.observe(time.monotonic() - began)
        self._troubled_since.pop(str(claim.ref), None)
        del self._claims[0]
        return status in WORKABLE

    @contextmanager
    def _within_time(self) -> Iterator[None]:
        """Let the steward see until when the chunk may take."""
        deadlines = self._slice.process.deadlines
        if deadlines is None:
            yield
            return
        deadlines.begin(self._slot, self._lane.token, self._run.policy.chunk_timeout)
        try:
            yield
        finally:
            deadlines.end(self._slot)

    def _failed(
        self, connection: Connection, claim: Claim, error: Exception, seconds: float
    ) -> bool:
        if isinstance(error, TransactionMisuse) and error.deliberate:
            raise error
        fault = fault_of(error)
        since = self._troubled_since.setdefault(str(claim.ref), time.monotonic())
        patient = time.monotonic() - since < self._runtime.settings.transient_seconds
        if fault is Fault.CONNECTION and patient:
            raise ConnectionGone(None) from error
        if fault is Fault.TRANSIENT and patient:
            log.info("run %s: chunk %s again at once: %s", self._run.id, claim.ref, error)
            time.sleep(_TRANSIENT_WAIT)
            return True
        if fault is Fault.DATABASE:
            self._hold(connection, f"the database takes no writes: {Failure.of(error)}")
            return False
        log.warning(
            "run %s: chunk %s failed (attempt %d)",
            self._run.id,
            claim.ref,
            claim.attempt,
            exc_info=error,
        )
        innocent = fault in (Fault.CONNECTION, Fault.TRANSIENT)
        self._record(connection, claim, Failure.of(error), seconds, innocent=innocent)
        return self._still_here(connection)

    def _record(
        self,
        connection: Connection,
        claim: Claim,
        failure: Failure,
        seconds: float,
        *,
        innocent: bool = False,
    ) -> None:
        process = self._slice.process
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.claims.lock(connection, self._run.id)
            # What has succeeded is told before it is asked whether anything has.
            self._tell(connection)
            suspicious = note_failure(
                self._runtime,
                connection,
                claim,
                failure,
                worker=process.worker_name,
                host=process.host,
                seconds=seconds,
                innocent=innocent,
            )
            self._claims.remove(claim)
            if suspicious:
                # Others would only fail alike: first it is seen whether anything works.
                for other in self._claims:
                    self._runtime.ledger.claims.give_back(
                        connection, other, wait=0, attempt_spent=False
                    )
                self._claims.clear()
        self._suspicious = suspicious
        # A chunk that is to be split now need not wait until it is time to look.
        self._looked_at = float("-inf")

    def _resolve(self, connection: Connection, data: Connection, work: Work, claim: Claim) -> bool:
        """Decide about a chunk that has had its tries."""
        try:
            goes_on = Isolation(
                self._runtime, connection, data, self._run, work.source, actor="lane"
            ).decide(claim)
        except DBAPIError as error:
            fault = fault_of(error)
            if fault is Fault.CONNECTION:
                raise ConnectionGone(None) from error
            if fault is Fault.TRANSIENT:
                time.sleep(_TRANSIENT_WAIT)
                return True
            raise SourceError(f"a failed chunk cannot be split: {Failure.of(error)}") from error
        self._claims.remove(claim)
        self._looked_at = float("-inf")
        return goes_on

    def _snooze(self, connection: Connection, claim: Claim, snooze: Snooze) -> bool:
        if claim.snoozes >= self._runtime.settings.max_snoozes:
            self._record(connection, claim, Failure.of(snooze), 0.0)
            return True
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.claims.lock(connection, self._run.id)
            self._runtime.ledger.claims.give_back(
                connection, claim, wait=snooze.seconds, attempt_spent=False, snoozed=True
            )
        self._claims.remove(claim)
        return True

    def _cancel(self, connection: Connection, claim: Claim, cancel: CancelRun) -> None:
        log.info("run %s: chunk %s cancels the run: %s", self._run.id, claim.ref, cancel)
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.runs.move(
                connection, self._run.id, RunStatus.CANCELLING, actor="job", reason=cancel.reason
            )

    def _hold(self, connection: Connection, reason: str) -> None:
        log.error("run %s is held: %s", self._run.id, reason)
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.runs.move(
                connection, self._run.id, RunStatus.HELD, actor="lane", reason=reason
            )

    def _still_here(self, connection: Connection) -> bool:
        with self._runtime.database.reading(connection):
            return self._runtime.ledger.claims.may_work(connection, self._run.id, self._lane.token)

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

    def _take(self, claims: list[Claim]) -> None:
        self._claims += claims
        self._claims.sort(key=lambda claim: (claim.ref.number, claim.ref.path))
