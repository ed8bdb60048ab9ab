"""Whether too much of a run has failed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from breakbulk.domain.run import Run
from breakbulk.runner.runtime import Runtime

#: A lane counts again before it has used up this part of its share of what may still fail.
_CAUTION = 8


@dataclass(slots=True)
class Gauge:
    """How many more rows a lane may see fail before it has to count those of the run again.

    To count them takes the longer the more have failed, and is done with the carve row locked. So a
    lane that finds a lot of room left takes a small part of its share on trust, less and less as
    it gets narrow, and in the end none.
    """

    left: int = 0

    def counts(self, rows: int) -> bool:
        """Whether to count, now that so many more rows have failed."""
        self.left -= rows
        return self.left < 0

    def found(self, room: int, lanes: int) -> None:
        """So many rows may fail yet, of all lanes."""
        self.left = max(room, 0) // (_CAUTION * max(lanes, 1))


def excess(
    runtime: Runtime, connection: Connection, run: Run, gauge: Gauge | None = None
) -> str | None:
    """What to say of a run in which too much has failed; None if it has not.

    Args:
        gauge: told how much room is left.
    """
    ledger, tolerate = runtime.ledger, run.policy.tolerate
    failed = ledger.chunks.rows_given_up(connection, run.id)
    total = None
    if tolerate.per_cent is not None:
        total = ledger.reports.progress(connection, run).rows_total
    room = tolerate.room(failed, total)
    if gauge is not None and room is not None:
        gauge.found(room, len(ledger.lanes.taken(connection, run.id)))
    if room is None or room >= 0:
        return None
    of = f" of {total}" if total else ""
    return f"{failed} {run.nouns.row}s{of} failed, more than tolerate={tolerate}"
