"""One attempt at an item of a job that keeps results: in a transaction only if its code asks.

The code is somebody else's task, which mostly has a way to the database of its own. While it works
nothing of ours is open, and what is to be written of it is one statement afterwards. As soon as
it asks for the chunk's session, it is in the chunk's transaction like any ``process``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import Connection

from breakbulk.domain.chunk import Claim
from breakbulk.domain.status import RunStatus
from breakbulk.domain.verdict import Kept
from breakbulk.runner.attempt import Marked, Work, doubting
from breakbulk.runner.context import surrounded
from breakbulk.runner.current import process
from breakbulk.runner.keeping import ItemChunk, item_state, keep, kept
from breakbulk.runner.late import LateUnit
from breakbulk.runner.unit import Unit, ended


@dataclass(frozen=True, slots=True)
class ItemWork(Work):
    """What a lane needs for every item of a run that keeps results."""

    keeps: ClassVar[bool] = True

    def attempt(
        self,
        connection: Connection,
        data: Connection,
        claim: Claim,
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> RunStatus | None:
        """Process an item and mark it done, as :meth:`Work.attempt` does with a chunk."""
        began = time.monotonic()
        apart = self.runtime.at_least_once
        marked: Marked | None = None
        state = item_state(self.runtime, connection, self.run, claim)
        with LateUnit(
            self.runtime.data, data, self._beginning(data, claim), at_work, self._guard_key
        ) as late:
            chunk = ItemChunk(self.run, claim, self.source, late, state)
            with surrounded(self.runtime.context, chunk):
                # failpoint: before item
                said = kept(self.run, process(self.job, chunk))
                opened = late.end()
                if opened is not None:
                    opened.session.flush()
                    opened.check()
                    # On PostgreSQL the mark sees the seal, where it is in the same transaction.
                    seen = apart or not self.runtime.data.is_postgresql
                    if seen and not self.runtime.data.unbroken(data, late.seal):
                        raise ended()
                if opened is not None and not apart:
                    marked = self._mark_and_keep(
                        opened, late.seal, connection, claim, began=began, said=said
                    )
                elif opened is not None:
                    opened.commit()
                elif not apart:
                    marked = self._mark_alone(connection, claim, began, said)
        if marked is None:
            # The rows first: a crash between the two commits repeats the item, it loses nothing.
            marked = self._mark_alone(connection, claim, began, said)
        # failpoint: after item
        status, tallied = marked
        self.tally.count(claim.rows, written=tallied)
        return status

    def _beginning(self, data: Connection, claim: Claim) -> Callable[[], object]:
        def begin() -> object:
            if not self.runtime.at_least_once:
                return self.runtime.ledger.chunks.begin(data, claim.ref)
            self.runtime.data.begin_writing(data)
            return self.runtime.data.seal(data)

        return begin

    def _mark_and_keep(
        self,
        opened: Unit,
        seal: object,
        connection: Connection,
        claim: Claim,
        *,
        began: float,
        said: Kept,
    ) -> Marked:
        """Mark it in the transaction that its code has worked in."""
        status, seen = self._mark(connection, claim, began)
        if seen != seal:
            raise ended()
        keep(self.runtime, connection, self.run, claim, said)
        tallied = self._note(connection, claim)
        with doubting(tallied=tallied):
            opened.commit()
        return status, tallied
