"""How many rows a run will have, told better by what was seen of them than at submit.

The planner knows a table as it was, and a table that has just been filled or rewritten is another.
A progress bar that goes by it says 95 % for half a minute. So each lane looks again, once a stay.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.keys import decode_key
from breakbulk.domain.run import Run
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.hand import Slice
from breakbulk.runner.runtime import Runtime
from breakbulk.sources import Source, TableSource

log = logging.getLogger("breakbulk.lane")

_SETTLED = 1.0
"""Seconds of a stay after which its lane looks, or half of a short one: by then much is carved."""
_WORTH_NOTING = 0.02
"""By what part the guess must have changed to be written down."""


class Outlook:
    """What one stay of a lane adds to what is known about the rows to come."""

    def __init__(self, runtime: Runtime, lane: Lane, run: Run, piece: Slice) -> None:
        self._runtime = runtime
        self._lane = lane
        self._run = run
        self._due_at = time.monotonic() + min(_SETTLED, piece.left() / 2)
        self._done = False

    def refine(self, connection: Connection, data: Connection, source: Source[object]) -> None:
        """Look again if that is due; both connections idle, as when a lane carves.

        Raises:
            DBAPIError: a connection is lost.
        """
        if self._done or time.monotonic() < self._due_at:
            return
        if not isinstance(source, TableSource) or self._run.until is None:
            self._done = True
            return
        try:
            self._done = self._refine(connection, data, source, self._run.until)
        except DBAPIError as error:
            if fault_of(error) is Fault.CONNECTION:
                raise
            # It is only a figure to be shown, and no reason to stop the work.
            self._done = True
            log.debug("run %s: the rows to come cannot be guessed: %s", self._run.id, error)

    def _refine(
        self, connection: Connection, data: Connection, source: TableSource, until: str
    ) -> bool:
        """Look; False where nothing is carved yet that one could go by."""
        runtime, run = self._runtime, self._run
        with runtime.database.reading(connection):
            frontier = runtime.ledger.claims.frontier(connection, run.id, self._lane.token)
        if frontier.exhausted or frontier.upto is None:
            return frontier.exhausted
        with runtime.data.reading(data):
            rows = source.outlook(data, frontier.upto, decode_key(until), frontier.rows)
        if rows is None or abs(rows - (run.rows_estimate or 0)) <= _WORTH_NOTING * rows:
            return True
        with runtime.database.transaction(connection, durable=False):
            runtime.ledger.runs.expect(connection, run.id, rows)
        return True
