"""What becomes of an item whose code has said so itself, in a job that keeps results.

Neither the run's retries nor its suspicions count here: the code knows whether to try again, and
that it is not the rest of the run's fault. All is written in the transaction that gives the item
back, or puts it away, and only while it is this claim's still.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from breakbulk.domain.chunk import Claim
from breakbulk.domain.failing import OnFailure
from breakbulk.domain.failure import Failure
from breakbulk.domain.storable import storable
from breakbulk.domain.verdict import Again, Hopeless, LeftOut
from breakbulk.runner.isolate import Isolation
from breakbulk.runner.keeping import leave_state
from breakbulk.runner.runtime import Process

log = logging.getLogger("breakbulk.lane")

Verdict = Again | Hopeless | LeftOut

_WHY_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Judge:
    """Does as an item's code says.

    Attributes:
        isolation: puts items away; its connection is in a transaction, the carve row locked.
        process: where the attempt was made.
    """

    isolation: Isolation
    process: Process

    def end_attempt(self, claim: Claim, verdict: Verdict, seconds: float) -> bool:
        """Write an attempt's end down and give the item back or put it away.

        Call it with the carve row locked.

        Returns:
            Whether the run goes on.
        """
        runtime, connection, run = (
            self.isolation.runtime,
            self.isolation.connection,
            self.isolation.run,
        )
        ledger = runtime.ledger
        if not ledger.claims.owns(connection, claim):
            return True
        failure = failure_of(verdict)
        log.warning("run %s: %s %s: %s", run.id, run.nouns.item, claim.ref, failure)
        if isinstance(verdict, Again):
            before = leave_state(runtime, connection, run, claim.ref.number, verdict)
        else:
            left = ledger.results.state(connection, run.id, claim.ref.number, run.round)
            before = left.agains
        ledger.failures.record(
            connection,
            run.id,
            failure,
            claim=claim,
            attempt=claim.attempt + before,
            worker=self.process.worker_name,
            host=self.process.host,
            seconds=seconds,
        )
        if isinstance(verdict, Again):
            ledger.claims.give_back(connection, claim, wait=verdict.seconds, attempt_spent=False)
            return True
        if isinstance(verdict, Hopeless):
            ledger.outbox.send(connection, run, verdict.outgoing)
        skips = isinstance(verdict, LeftOut)
        return self.isolation.end_item(claim, OnFailure.SKIP if skips else run.policy.on_failure)


def failure_of(verdict: Verdict) -> Failure:
    """What is written down: the cause, and not that it was told of."""
    if isinstance(verdict, LeftOut):
        return Failure(LeftOut.__name__, storable(verdict.why, _WHY_LIMIT), None)
    return Failure.of(verdict.cause)
