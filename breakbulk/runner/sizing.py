"""Runs whose chunks size themselves: the size that the next carve takes, and what trouble does.

All that a lane goes by is in the ledger, so all lanes of a run agree: what the last chunks took
stands in the chunks, and the size with what trouble has left of it in a row that is appended
whenever it changes, with the carve that it counts for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection

from breakbulk.domain.chunk import Claim, RunId
from breakbulk.domain.run import Run
from breakbulk.domain.sizing import (
    GROWTH,
    WINDOW,
    Cause,
    Size,
    Timed,
    braked,
    next_size,
    rows_per_second,
)
from breakbulk.runner.memory import shortage
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.sizing")

#: Once the rate would allow so many times the size it is still on its way up: not worth a word.
_ON_ITS_WAY = GROWTH * 0.75


@dataclass(frozen=True, slots=True)
class Sized:
    """The size of the chunks of one carve.

    Attributes:
        rows: to a chunk.
        chunks: how many chunks to carve at most.
        change: what is to be written down with the carve; None when nothing is.
        detail: why it changes.
        tell: it may be told in the run's activity.
        before: what was on record when it was chosen.
    """

    rows: int
    chunks: int
    change: Size | None = None
    detail: str = ""
    tell: bool = True
    before: Size | None = None

    def overtaken(self, runtime: Runtime, connection: Connection, run_id: RunId) -> bool:
        """Whether a change is due, and somebody has recorded another one since it was chosen.

        Ask with the carve row locked: who has met trouble meanwhile must not be overruled.
        """
        if self.change is None or self.before is None:
            return False
        return runtime.ledger.sizes.current(connection, run_id, self.before.rows) != self.before

    def record(self, runtime: Runtime, connection: Connection, run_id: RunId, actor: str) -> None:
        """Write the change down, if there is one, with the carve row locked."""
        if self.change is not None:
            runtime.ledger.sizes.record(
                connection, run_id, self.change, detail=self.detail, actor=actor, tell=self.tell
            )


def size_now(
    runtime: Runtime, connection: Connection, run: Run, *, number: int, chunks: int
) -> Sized:
    """The size that counts for the next carve; call it where the frontier is read.

    A chunk's bounds are decided when it is carved, so one that is carved ahead has the size of
    yesterday. Hence one at a time: a carve of a chunk of half a second is paid for easily. Only
    where the upper bound makes chunks shorter than the target are more carved at once, for half
    of it.

    Args:
        number: of the last chunk carved.
        chunks: how many the lane would carve.
    """
    seconds = run.chunk_seconds
    if seconds is None:
        return Sized(run.chunk_size, chunks)
    ledger, most = runtime.ledger, runtime.settings.max_chunk_rows
    known = ledger.sizes.current(connection, run.id, min(run.chunk_size, most))
    done = ledger.sizes.done(connection, run.id)
    if (short := shortage()) is not None and _has_worked(known, number):
        size, detail = braked(known, number, known.rows, Cause.MEMORY), short
    else:
        size = next_size(known, number, done, seconds, most)
        detail = _why(size, done, seconds, most, number)
    ahead = 1
    if size.rows >= most and (often := runtime.settings.carve_seconds):
        ahead = max(1, int(chunks * seconds / 2 / often))
    if size is known:
        return Sized(size.rows, ahead)
    tell = not _on_its_way(size, number, done, seconds, most)
    return Sized(size.rows, ahead, size, detail, tell, known)


def brake(
    runtime: Runtime, connection: Connection, claim: Claim, cause: Cause, why: str, *, actor: str
) -> None:
    """Make the run's chunks smaller at once, after this one met trouble.

    Call it with the carve row locked. It does nothing for runs whose chunks have a fixed size.

    Args:
        why: for people.
        actor: who has seen it.
    """
    run_id = claim.ref.run_id
    run = runtime.ledger.runs.get(connection, run_id)
    if run.chunk_seconds is None:
        return
    sizes = runtime.ledger.sizes
    known = sizes.current(connection, run_id, run.chunk_size)
    number = runtime.ledger.claims.last_number(connection, run_id)
    size = braked(known, number, claim.rows, cause)
    if size is known:
        return
    log.info("run %s: chunks have %d rows from now on: %s", run_id, size.rows, why)
    sizes.record(connection, run_id, size, detail=f"chunk {claim.ref}: {why}", actor=actor)


def _has_worked(size: Size, number: int) -> bool:
    """Whether chunks of the size that trouble has left were carved since; else it is too early."""
    return size.ceiling is None or number - size.ceiling_number >= WINDOW


def _on_its_way(size: Size, number: int, done: list[Timed], seconds: float, most: int) -> bool:
    pace = rows_per_second(done)
    if size.cause is not Cause.PACE or pace is None:
        return False
    end = min(pace * seconds, most, size.ceiling_at(number))
    return end >= size.rows * _ON_ITS_WAY


def _why(size: Size, done: list[Timed], seconds: float, most: int, number: int) -> str:
    pace = rows_per_second(done)
    if pace is None:
        return "no chunk is done yet"
    if size.rows >= most:
        return f"a lane does {pace:,.0f} rows/s, and no chunk has more rows than max_chunk_rows"
    if size.rows >= size.ceiling_at(number):
        return f"a lane does {pace:,.0f} rows/s, but there was trouble not long ago"
    return f"a lane does {pace:,.3g} rows/s, and a chunk is to take {seconds:g} s"
