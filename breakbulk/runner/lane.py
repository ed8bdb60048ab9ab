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

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.chunk import Claim, failed_part
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
    TaskUnworkable,
    TransactionMisuse,
    UnsupportedPool,
)
from breakbulk.jobs import JobRun
from breakbulk.ledger.faults import Fault, fault_of, pressure_of
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.lastword import NotPrepared
from breakbulk.runner.attempt import DoubtfulCommit, Tally, Work
from breakbulk.runner.carve import use_cap
from breakbulk.runner.elsewhere import leave_to_others
from breakbulk.runner.hand import ConnectionGone, Hand, Slice
from breakbulk.runner.isolate import Isolation, note_failure, spent
from breakbulk.runner.itemwork import ItemWork
from breakbulk.runner.origin import source_of
from breakbulk.runner.outlook import Outlook
from breakbulk.runner.patience import Backoff, Patience
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.sizing import brake
from breakbulk.runner.tolerance import Gauge
from breakbulk.runner.tracing import traced
from breakbulk.runner.verdicts import Judge, Verdict

log = logging.getLogger("breakbulk.lane")

_AFTER_TROUBLE = 1.0


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
        self._hand = Hand(runtime, lane, run, piece)
        self._outlook = Outlook(runtime, lane, run, piece)
        self._tally = Tally(written_at=time.monotonic())
        self._patience = Patience(runtime.settings.transient_seconds)
        self._backoff = Backoff()
        self._gauge = Gauge()
        self._doubtful_tally = False
        self._leaving = False
        self._slot: int | None = None
        self._worked = False

    @property
    def done(self) -> str:
        """What it has done so far, for people."""
        chunks, rows = self._tally.in_all()
        return self._run.nouns.done(chunks, rows)

    @property
    def idle(self) -> bool:
        """Whether the lane found nothing more to do."""
        return self._hand.idle

    def stay(self, connection: Connection, data: Connection) -> None:
        """Work until the slice ends, the run wants no more, or there is nothing to do."""
        process = self._slice.process
        deadlines = process.deadlines
        self._slot = None if deadlines is None else deadlines.take(process.pid, process.started)
        if connection is data and self._runtime.database.is_postgresql:
            self._runtime.ledger.chunks.last_word.prepare(connection)
        try:
            self._stay(connection, data)
        finally:
            if deadlines is not None:
                deadlines.give_back(self._slot)

    def _stay(self, connection: Connection, data: Connection) -> None:
        try:
            self._work(connection, data, self._begin(connection))
        except BreakbulkError as error:
            # Others put it into sentences of their own.
            self._hold(connection, str(error).removesuffix("."))
        except DBAPIError as error:
            if fault_of(error) is not Fault.DATABASE:
                raise
            self._hold_for_database(connection, error)
        except Exception as error:
            if isinstance(error, (ConnectionGone, *self._slice.process.interruptions)):
                raise
            # Of the job, but not of a chunk: every lane would meet it again, and for nothing.
            log.exception("run %s: an error outside process()", self._run.id)
            self._hold(connection, f"the job cannot be worked on: {Failure.of(error)}")

    def _work(self, connection: Connection, data: Connection, work: Work) -> None:
        while not self._slice.over():
            claim = self._hand.lowest
            if claim is None:
                self._outlook.refine(connection, data, work.source)
                if not self._hand.fill(connection, data, work.source):
                    return
            elif self._hand.keeps(connection) and not self._next(connection, data, work, claim):
                return

    def sign_off(self, connection: Connection) -> None:
        """Give back what was not done, write down the rest of the tally, and leave."""
        ledger, run_id = self._runtime.ledger, self._run.id
        again, self._leaving = self._leaving, True
        with self._runtime.database.transaction(connection):
            ledger.claims.lock(connection, run_id)
            if again and not ledger.lanes.present(connection, self._lane.token):
                # It was the answer to the COMMIT that was lost, and not what it had written.
                return
            held = ledger.claims.held_by(connection, run_id, self._hand.owners)
            for claim in held:
                if troubled := self._patience.spent(claim):
                    # Others have their turn before a chunk that does not get on.
                    ledger.claims.give_back(
                        connection,
                        claim,
                        wait=_AFTER_TROUBLE,
                        attempt_spent=False,
                        troubled=troubled,
                    )
            if held:
                ledger.returns.unbegun(connection, run_id, self._hand.owners)
                cap = ledger.throttles.cap(connection, run_id)
                unused = sum(claim.rows for claim in held)
                use_cap(self._runtime, connection, run_id, cap, -unused)
            self._write_tally(connection)
            ledger.lanes.leave(connection, self._lane.token, worked=self._worked)
        # Only now: what is rolled back is to be written by the next try.
        self._tally.clear()

    def tell(self, connection: Connection) -> None:
        """Write down what was done since the last tally."""
        self._write_tally(connection)
        self._tally.clear()

    def _write_tally(self, connection: Connection) -> None:
        if self._tally.chunks:
            self._runtime.ledger.chunks.tally(
                connection, self._run.id, self._lane.number, self._tally.chunks, self._tally.rows
            )

    def committed_after_all(self, claim: Claim) -> None:
        """The COMMIT whose answer was lost had happened: count the chunk."""
        self._tally.count(claim.rows, written=self._doubtful_tally)
        self._hand.put_down(all_others=True)

    def forget_claims(self, connection: Connection) -> None:
        """After a lost connection: believe only what the ledger says."""
        at = self._hand.lowest
        self._hand.reread(connection)
        why = None if at is None else self._ended_because(connection)
        if at is not None and why is not None:
            log.warning(
                "run %s: %s %s cannot be committed here any more and is rolled back: %s",
                self._run.id,
                self._run.nouns.chunk,
                at.ref,
                why,
            )

    def _ended_because(self, connection: Connection) -> str | None:
        """Why somebody else has ended this lane; None if nobody has."""
        ledger, lane = self._runtime.ledger, self._lane
        with self._runtime.database.reading(connection):
            if ledger.lanes.present(connection, lane.token):
                return None
            notes = ledger.reports.activity(connection, lane.run_id)
        ours = f"lane {lane.number}: "
        details = (note.detail or "" for note in notes if note.verb == "rescued")
        return next((one for one in details if one.startswith(ours)), f"{ours}is not on record")

    def _begin(self, connection: Connection) -> Work:
        """Build the job and its source, and make sure they are what was submitted.

        Raises:
            BreakbulkError: they are not; only a human can put that right.
        """
        run, runtime = self._run, self._runtime
        spec = runtime.jobs.get(run.job)
        job = runtime.build(spec, run)
        # It may not be asked for its source, and has its run all the same.
        object.__setattr__(job, "run", JobRun(run.submitted_at, run.id))
        try:
            source = source_of(runtime, spec, job, run, connection)
        except Exception as error:
            if isinstance(error, (BreakbulkError, *self._slice.process.interruptions)):
                raise
            raise SourceError(f"source() raised {Failure.of(error)}") from error
        if source.fingerprint != run.fingerprint:
            raise SourceChanged(
                "source changed: it gives another statement here than at submit; deploy the same"
                " code everywhere and resume, or cancel and submit again"
            )
        kind = ItemWork if spec.options.keeps_results else Work
        return traced(kind(runtime, run, job, source, self._lane.number, self._tally))

    def _next(self, connection: Connection, data: Connection, work: Work, claim: Claim) -> bool:
        """Work on the chunk in hand; False when the lane should leave."""
        self._worked = True
        if spent(self._run, claim):
            return self._resolve(connection, data, work, claim)
        began = time.monotonic()
        try:
            status = work.attempt(connection, data, claim, self._within_time)
        except DoubtfulCommit as doubt:
            self._doubtful_tally = doubt.tallied
            raise ConnectionGone(claim) from doubt
        except LostClaim as lost:
            log.warning("%s", lost)
            self._hand.reread(connection)
            return self._still_here(connection)
        except Snooze as snooze:
            return self._snooze(connection, claim, snooze)
        except CancelRun as cancel:
            self._cancel(connection, claim, cancel)
            return False
        except (KeyChanged, UnsupportedPool):
            # A mistake in the job or the worker, not in these rows: every chunk would fail alike.
            raise
        except BaseException as error:  # noqa: BLE001  (user code may raise anything)
            return self._raised(connection, data, work, claim=claim, error=error, began=began)
        self._hand.done(time.monotonic() - began)
        self._patience.over(claim.ref)
        return status in WORKABLE

    def _raised(
        self,
        connection: Connection,
        data: Connection,
        work: Work,
        *,
        claim: Claim,
        error: BaseException,
        began: float,
    ) -> bool:
        """User code has raised this; False when the lane should leave."""
        process = self._slice.process
        if isinstance(error, NotPrepared):
            # Nothing was committed, and next time it is said in another way.
            self._again_at_once(claim, error)
            return True
        if not isinstance(error, Exception) and process.stopping():
            # Of the shutdown, and not the chunk's fault.
            raise error
        if isinstance(error, TaskUnworkable):
            if not self._leave_to_others(connection, claim, error):
                raise error
            return False
        if work.keeps and isinstance(error, Verdict):
            return self._judge(self._isolation(connection, data, work), claim, error, began)
        goes_on = self._failed(connection, claim, error, time.monotonic() - began)
        if isinstance(error, process.exits):
            raise error
        return goes_on

    def _again_at_once(self, claim: Claim, error: BaseException) -> None:
        noun = self._run.nouns.chunk
        log.info("run %s: %s %s again at once: %s", self._run.id, noun, claim.ref, error)

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
        self, connection: Connection, claim: Claim, error: BaseException, seconds: float
    ) -> bool:
        if isinstance(error, TransactionMisuse) and error.deliberate:
            raise error
        fault = fault_of(error)
        self._brake(connection, claim, error)
        innocent = fault in (Fault.CONNECTION, Fault.TRANSIENT)
        if innocent and self._patience.lasts(claim):
            self._again_at_once(claim, error)
            self._patience.wait(claim)
            if fault is Fault.CONNECTION:
                raise ConnectionGone(None) from error
            return True
        if fault is Fault.DATABASE:
            self._hold_for_database(connection, error)
            return False
        failure = Failure.of(error)
        policy, path = self._run.policy, claim.ref.path
        part = failed_part(path)
        last = policy.wait_after(claim.attempt, path, claim.rows, failure.kinds) is None
        log.log(
            # An error is what somebody should look at: once, and not for each try, nor again for
            # each part on the way to the row.
            logging.ERROR if last and not part else logging.WARNING,
            "run %s: %s %s failed (attempt %d%s)",
            self._run.id,
            self._run.nouns.chunk,
            claim.ref,
            claim.attempt,
            ", the last" if last else "",
            exc_info=error if claim.rows == 1 or not part else None,
            extra={"chunk": str(claim.ref), "attempt": claim.attempt},
        )
        self._patience.over(claim.ref)
        self._record(connection, claim, failure, seconds, innocent=innocent)
        return self._still_here(connection)

    def _brake(self, connection: Connection, claim: Claim, error: BaseException) -> None:
        """Where chunks size themselves, let the next ones be smaller if that may help."""
        cause = pressure_of(error)
        if cause is None or self._run.chunk_seconds is None:
            return
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.claims.lock(connection, self._run.id)
            why, who = str(Failure.of(error)), f"lane {self._lane.number}"
            brake(self._runtime, connection, claim, cause, why, actor=who)

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
            self.tell(connection)
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
            # Others would only fail alike: first it is seen whether anything works.
            if suspicious and self._hand.others:
                owners = self._hand.owners
                self._runtime.ledger.returns.unbegun(connection, self._run.id, owners)
        self._hand.suspicious = suspicious
        # A chunk that is to be split now need not wait until it is time to look.
        self._hand.put_down(all_others=suspicious, look=True)

    def _isolation(self, connection: Connection, data: Connection, work: Work) -> Isolation:
        source = work.source
        return Isolation(self._runtime, connection, data, self._run, source, "lane", self._gauge)

    def _resolve(self, connection: Connection, data: Connection, work: Work, claim: Claim) -> bool:
        """Decide about a chunk that has had its tries."""
        try:
            goes_on = self._isolation(connection, data, work).decide(claim)
        except DBAPIError as error:
            fault = fault_of(error)
            if fault is Fault.CONNECTION:
                raise ConnectionGone(None) from error
            if fault is Fault.TRANSIENT:
                self._backoff.wait()
                return True
            raise SourceError(f"a failed chunk cannot be split: {Failure.of(error)}") from error
        self._backoff.reset()
        self._hand.put_down(look=True)
        return goes_on

    def _judge(self, isolation: Isolation, claim: Claim, verdict: Verdict, began: float) -> bool:
        """Do as the code of an item says."""
        connection = isolation.connection
        lost = connection.invalidated or isolation.data.invalidated
        seconds = time.monotonic() - began
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.claims.lock(connection, self._run.id)
            self.tell(connection)
            judge = Judge(isolation, self._slice.process)
            goes_on = judge.end_attempt(claim, verdict, seconds)
        self._patience.over(claim.ref)
        self._hand.put_down()
        if lost:
            # A new connection does not say yet that it is this lane's.
            raise ConnectionGone(None) from verdict
        return goes_on and self._still_here(connection)

    def _snooze(self, connection: Connection, claim: Claim, snooze: Snooze) -> bool:
        if claim.snoozes >= self._runtime.settings.max_snoozes:
            self._record(connection, claim, Failure.of(snooze), 0.0)
            return self._still_here(connection)
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.claims.lock(connection, self._run.id)
            self._runtime.ledger.claims.give_back(
                connection, claim, wait=snooze.seconds, attempt_spent=False, snoozed=True
            )
        self._hand.put_down()
        # The done-mark would have told of a pause, and nothing was marked.
        return self._still_here(connection)

    def _leave_to_others(
        self, connection: Connection, claim: Claim, unworkable: TaskUnworkable
    ) -> bool:
        """Give a part back whose task another worker knows; whether one does."""
        process = self._slice.process
        if not leave_to_others(self._runtime, connection, self._run, process, unworkable.task):
            return False
        log.warning(
            "run %s: the task %s is not known here, so it is left to workers that know it",
            self._run.id,
            unworkable.task,
        )
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.claims.lock(connection, self._run.id)
            self._runtime.ledger.claims.give_back(connection, claim, wait=0, attempt_spent=False)
        self._hand.put_down()
        return True

    def _cancel(self, connection: Connection, claim: Claim, cancel: CancelRun) -> None:
        # Whatever user code has given for a reason, and whether or not it can be printed.
        reason = Failure.of(cancel).message
        noun = self._run.nouns.chunk
        log.info("run %s: %s %s cancels the run: %s", self._run.id, noun, claim.ref, reason)
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.runs.move(
                connection, self._run.id, RunStatus.CANCELLING, actor="job", reason=reason
            )

    def _hold_for_database(self, connection: Connection, error: BaseException) -> None:
        self._hold(connection, f"the database takes no writes: {Failure.of(error)}")

    def _hold(self, connection: Connection, reason: str) -> None:
        with self._runtime.database.transaction(connection):
            held = self._runtime.ledger.runs.move(
                connection, self._run.id, RunStatus.HELD, actor="lane", reason=reason
            )
        if held:
            log.error("run %s is held: %s", self._run.id, reason)

    def _still_here(self, connection: Connection) -> bool:
        with self._runtime.database.reading(connection):
            return self._runtime.ledger.claims.may_work(connection, self._run.id, self._lane.token)
