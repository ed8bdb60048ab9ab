"""What becomes of a chunk that failed: tried again, split in half, put away, or the run stops.

A chunk that has used up its retries is split, each half tried once, down to the single row that
fails: about log2(chunk size) more attempts for each such row. The row goes to quarantine, the rest
is done. It works for rows that kill their process as well, because the attempt was on record
before it began, and whoever comes next finds the chunk's tries used up.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from sqlalchemy import Connection

from breakbulk.domain.chunk import Bounds, Claim, Cut, failed_part
from breakbulk.domain.failing import OnFailure
from breakbulk.domain.failure import Failure
from breakbulk.domain.keys import Key, encode_key
from breakbulk.domain.run import Run
from breakbulk.domain.status import ChunkStatus, RunStatus
from breakbulk.runner.blame import reason_of, suspect, with_suspect
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.tolerance import Gauge, excess
from breakbulk.sources import Source

log = logging.getLogger("breakbulk.isolate")


def note_failure(
    runtime: Runtime,
    connection: Connection,
    claim: Claim,
    failure: Failure,
    *,
    worker: str,
    host: str,
    seconds: float | None,
    at_once: bool = False,
    innocent: bool = False,
) -> bool:
    """Record a failed attempt and put the chunk back; call it with the carve row locked.

    Args:
        at_once: the first retry need not wait: the process died, which the database got over.
        innocent: whatever it was, it was not the rows: rather than split, the run is held.

    Returns:
        Whether it looks as if nothing succeeds any more, so that nothing new should be begun.
    """
    ledger, run_id = runtime.ledger, claim.ref.run_id
    if not ledger.claims.owns(connection, claim):
        return False
    ledger.failures.record(
        connection,
        run_id,
        failure,
        claim=claim,
        attempt=claim.attempt,
        worker=worker,
        host=host,
        seconds=seconds,
    )
    run = ledger.runs.get(connection, run_id)
    policy = run.policy
    wait = policy.wait_after(claim.attempt, claim.ref.path, claim.rows, failure.kinds)
    if innocent:
        found = None
        if wait is None:
            reason = f"{run.nouns.chunk} {claim.ref} does not get on: {failure}"
            _hold(runtime, connection, run, failure, reason)
    else:
        found = suspect(runtime, connection, run, claim, failure)
    # Single rows that are not part of a chunk cannot be split to see whether anything works.
    part = bool(failed_part(claim.ref.path))
    splits = policy.on_failure is OnFailure.ISOLATE and (claim.rows > 1 or part)
    if found is not None and (found.proven or not splits):
        _hold(runtime, connection, run, failure, reason_of(failure, run.nouns))
    probes = found is not None and splits and not found.probed
    spent = not innocent and (wait is None or probes)
    ledger.claims.give_back(
        connection,
        claim,
        wait=0 if spent or wait is None or (at_once and claim.attempt == 1) else wait,
        # Who is held for what is not its fault keeps its last try.
        attempt_spent=not innocent or wait is not None,
        spent=spent,
    )
    return found is not None


@dataclass(frozen=True, slots=True)
class Isolation:
    """Decides about chunks that have had their tries.

    Attributes:
        connection: idle, to the ledger.
        data: idle, to the rows; the same connection where they are in one database.
        actor: who is said to have stopped a run.
        gauge: how much may fail before it has to be counted.
    """

    runtime: Runtime
    connection: Connection
    data: Connection
    run: Run
    source: Source[object]
    actor: str
    gauge: Gauge = field(default_factory=Gauge)

    def decide(self, claim: Claim) -> bool:
        """Split a chunk, put it away, or stop the run; whether the run goes on.

        Raises:
            DBAPIError, SourceError: the chunk's keys cannot be read.
        """
        runtime, connection, run = self.runtime, self.connection, self.run
        tries = run.policy.tries(claim.ref.path, claim.rows)
        # To be claimed for this counts as one more attempt, and each time it is lost here another.
        if claim.attempt > tries + 1 + runtime.settings.max_losses:
            last = Failure.of_death("the process dies whenever it is to be split")
            with runtime.database.transaction(connection):
                _hold(runtime, connection, run, last, f"{run.nouns.chunk} {claim.ref}: {last}")
            return False
        keys: list[Key] | None = None
        if run.policy.on_failure is OnFailure.ISOLATE:
            # Before any lock: this may read as much as the chunk itself did.
            with runtime.data.reading(self.data):
                keys = list(self.source.keys(self.data, claim.bounds))
        with runtime.database.transaction(connection):
            runtime.ledger.claims.lock(connection, run.id)
            if keys is not None and len(keys) > 1:
                runtime.ledger.claims.split(connection, claim, halves(claim.bounds, keys))
                return True
            return self._put_away(claim, keys, run.policy.on_failure)

    def end_item(self, claim: Claim, on_failure: OnFailure) -> bool:
        """End a chunk of one item, whatever tries are left; whether the run goes on.

        Call it with the carve row locked.
        """
        keys = [claim.bounds.upto] if on_failure is OnFailure.ISOLATE else None
        return self._put_away(claim, keys, on_failure)

    def _put_away(self, claim: Claim, keys: list[Key] | None, on_failure: OnFailure) -> bool:
        """End a chunk that cannot be split further; whether the run goes on."""
        ledger, run = self.runtime.ledger, self.run
        if keys == [] and claim.rows:
            # Its rows have gone since it was carved, so nothing of it is left to be done.
            ledger.claims.retire(self.connection, claim, ChunkStatus.SUCCEEDED, rows=0)
            return True
        skips = on_failure is OnFailure.SKIP
        status = ChunkStatus.SKIPPED if skips else ChunkStatus.FAILED
        rows = claim.rows if keys is None else len(keys)
        if not ledger.claims.retire(self.connection, claim, status, rows=rows):
            return True
        latest = ledger.failures.latest(self.connection, run.id, chunk=claim.ref, limit=1)
        if keys and latest:
            ledger.quarantine.put(
                self.connection,
                claim.ref,
                key=encode_key(keys[0]),
                attempts=ledger.failures.count(self.connection, claim.ref),
                failure=latest[0],
            )
        why = latest[0].sentence if latest else "no reason is on record"
        log.log(
            # Of an exception the log has said so already, with its traceback.
            logging.WARNING if latest and latest[0].traceback else logging.ERROR,
            "run %s: %s %s is given up%s: %s",
            run.id,
            run.nouns.chunk,
            claim.ref,
            "" if run.nouns.alike else f", rows: {rows}",
            why,
            extra={"chunk": str(claim.ref)},
        )
        if on_failure is OnFailure.STOP:
            return not self._stop(f"{run.nouns.chunk} {claim.ref} failed: {why}")
        if not self.gauge.counts(rows):
            return True
        too_much = excess(self.runtime, self.connection, run, self.gauge)
        return too_much is None or not self._stop(too_much)

    def _stop(self, reason: str) -> bool:
        """Let the run end as failed once the chunks in hand have ended; whether it will."""
        log.error("run %s stops: %s", self.run.id, reason)
        return self.runtime.ledger.runs.move(
            self.connection,
            self.run.id,
            RunStatus.CANCELLING,
            actor=self.actor,
            reason=reason,
            outcome=str(RunStatus.FAILED),
        )


def halves(bounds: Bounds, keys: list[Key]) -> tuple[Cut, Cut]:
    """Both halves of a chunk: adjacent, with the chunk's own bounds at both ends."""
    middle = (len(keys) + 1) // 2
    border = keys[middle - 1]
    return (
        Cut(Bounds(bounds.after, border), middle),
        Cut(Bounds(border, bounds.upto), len(keys) - middle),
    )


def spent(run: Run, claim: Claim) -> bool:
    """Whether a chunk has had its tries, so that it is not to be tried once more."""
    return claim.spent or claim.attempt > run.policy.tries(claim.ref.path, claim.rows)


def _hold(
    runtime: Runtime, connection: Connection, run: Run, failure: Failure, reason: str
) -> None:
    log.error("run %s is held: %s", run.id, reason)
    runtime.ledger.runs.move(
        connection,
        run.id,
        RunStatus.HELD,
        actor="lane",
        reason=reason,
        suspect=with_suspect(run.suspect, failure),
    )
