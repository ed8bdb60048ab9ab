"""Whether it is the rows' fault: a broken deploy must not send a whole table to quarantine.

Several chunks in a row that fail in the same way, with no success between, raise a suspicion. They
prove nothing: a few bad rows in every chunk look the same. So one of them is split at once, as a
probe. If any part of it succeeds, it was the rows. If both halves fail alike at every step down to
the first two rows, and nothing else of the run has succeeded since, the run is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from sqlalchemy import Connection

from breakbulk.domain.chunk import ChunkRef, Claim, failed_part
from breakbulk.domain.failed import FailedAttempt
from breakbulk.domain.failure import Failure
from breakbulk.domain.nouns import Nouns
from breakbulk.domain.run import Run
from breakbulk.runner.runtime import Runtime

#: More failures than these are never needed to see that all are alike: a few chunks, and the parts
#: of one on the way to its first row.
_RECENT = 100
#: Between the names of what a run was held for.
_NEXT = "\n"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Failures that look like one cause outside the rows, unless something succeeded meanwhile.

    Attributes:
        since: when the first of them happened.
        numbers: the chunks that failed.
        proven: a probe has come down to single rows and found none that works.
        probed: a chunk is being split already.
    """

    since: datetime
    numbers: frozenset[int]
    proven: bool
    probed: bool


def suspicion(
    recent: Sequence[FailedAttempt], claim: Claim, *, chunks_in_a_row: int
) -> Suspicion | None:
    """What the latest failures look like.

    Args:
        recent: of chunks, newest first, the latest being the claim's own.
        claim: the chunk that has just failed.
        chunks_in_a_row: so many different chunks that fail alike raise a suspicion.
    """
    alike = list(takewhile(lambda one: one.kind == recent[0].kind, recent))
    probed = any(failed_part(failure.path) for failure in alike)
    own = [failure for failure in alike if _whole(failure) == _whole(claim.ref)]
    rows = {failure.path for failure in own if failure.rows == 1}
    # The chunk, and both halves at each step on the way down.
    way = failed_part(claim.ref.path)
    parts = 1 + 2 * len(way)
    down = way and not failed_part(own[-1].path) and len({one.path for one in own}) >= parts
    if down and claim.rows == 1 and len(rows) > 1:
        return Suspicion(own[-1].at, frozenset({claim.ref.number}), proven=True, probed=True)
    in_a_row: set[tuple[int, str]] = set()
    for failure in alike:
        in_a_row.add(_whole(failure))
        if len(in_a_row) >= chunks_in_a_row:
            numbers = frozenset(number for number, _ in in_a_row)
            return Suspicion(failure.at, numbers, proven=False, probed=probed)
    return None


def _whole(one: FailedAttempt | ChunkRef) -> tuple[int, str]:
    """The chunk that this is, or is a part of since it has failed: number and path."""
    return (one.number, one.path.removesuffix(failed_part(one.path)))


def suspect(
    runtime: Runtime, connection: Connection, run: Run, claim: Claim, failure: Failure
) -> Suspicion | None:
    """What to suspect after a failure that has just been recorded; None: the rows.

    A run is held once for the same error: who resumes it without a change is taken at his word.
    """
    if name_of(failure) in (run.suspect or "").split(_NEXT):
        return None
    ledger = runtime.ledger
    recent = ledger.failures.recent(connection, run.id, round=run.round, limit=_RECENT)
    found = suspicion(recent, claim, chunks_in_a_row=runtime.settings.held_after_chunks)
    if found is None:
        return None
    if ledger.failures.succeeded_since(connection, run.id, found.numbers, found.since):
        return None
    return found


def reason_of(failure: Failure, nouns: Nouns) -> str:
    """Why a run is held, for whoever has to put it right."""
    where = f" ({failure.place})" if failure.place else ""
    return (
        f"nothing succeeds any more, and it is the same error each time: {failure}{where};"
        f" put that right and resume, or resume as it is to have the {nouns.row}s isolated all the"
        " same"
    )


def name_of(failure: Failure) -> str:
    """What tells whether two failures have the same cause."""
    return f"{failure.error} {failure.place or ''}".strip().replace(_NEXT, " ")


def with_suspect(before: str | None, failure: Failure) -> str:
    """What a run has been held for by now, with this failure.

    All of it: of two errors that take turns each would else be new again after the other, and
    whoever resumes the run as it is would resume it for ever.
    """
    return name_of(failure) if before is None else f"{before}{_NEXT}{name_of(failure)}"
