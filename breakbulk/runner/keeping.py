"""Jobs that keep results: what their code is handed, and what becomes of what it says.

Only jobs of Breakbulk's own do so (:func:`breakbulk.jobs.declare_keeping`). One item is one chunk,
so whatever is written here for an item commits with that item alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from breakbulk.domain.chunk import ChunkRef, Claim
from breakbulk.domain.items import decode_item
from breakbulk.domain.run import Run
from breakbulk.domain.status import ChunkStatus
from breakbulk.domain.verdict import CALLBACK_NUMBER, Again, Kept
from breakbulk.ledger import Ledger
from breakbulk.ledger.results import ItemState
from breakbulk.runner.chunk import Chunk, FinishedRun
from breakbulk.runner.late import LateUnit
from breakbulk.runner.runtime import Runtime
from breakbulk.sources import Source

#: Opens a transaction that reads the ledger, and gives its connection.
Reader = Callable[[], AbstractContextManager[Connection]]


class ItemChunk(Chunk[Any]):
    """One item in the hands of ``process``.

    Attributes:
        kept_state: what the attempt before has left, JSON text; None where it left nothing.
    """

    def __init__(
        self, run: Run, claim: Claim, source: Source[Any], late: LateUnit, state: ItemState
    ) -> None:
        super().__init__(run, claim, source, late.session)
        self._late = late
        self._state = state
        self.kept_state = state.value

    @property
    def troubled(self) -> bool:
        """Whether what was done through :attr:`session` can only be rolled back."""
        return self._late.troubled

    def __iter__(self) -> Iterator[Any]:
        # The items are read from the ledger, and not in this transaction, which need not be there.
        return iter(self._source.rows(cast("Session", self._late), self._claim.bounds))

    @property
    def attempt(self) -> int:
        """Which try this is, from 1, with those that asked for another one."""
        return self._claim.attempt + self._state.agains


class ResultsRun(FinishedRun):
    """A run whose items have results, in the hands of ``finished`` or ``failed``.

    Attributes:
        kept_state: what the attempt before has left, JSON text; None where it left nothing.
        outgoing: Celery signatures as text, each to be sent at least once after the commit.
    """

    def __init__(
        self, *given: Any, ledger: Ledger, reader: Reader, state: ItemState, **named: Any
    ) -> None:
        super().__init__(*given, **named)
        self._ledger = ledger
        self._reader = reader
        self.attempt += state.agains
        self.kept_state = state.value
        self.outgoing: list[str] = []
        self.kept: str | None = None

    def keep(self, result: str) -> None:
        """Keep the callback's own result, JSON text; written with the run's end."""
        self.kept = result

    def result(self, number: int) -> str | None:
        """One result by its item's number; None where there is none."""
        with self._reader() as connection:
            return self._ledger.results.get(connection, self.id, number)

    def results(self, start: int, stop: int) -> dict[int, str]:
        """Results by their items' numbers, from ``start`` up to and without ``stop``."""
        with self._reader() as connection:
            return self._ledger.results.page(connection, self.id, start, stop)

    def item(self, number: int) -> Any:
        """One item by its number."""
        with self._reader() as connection:
            return decode_item(self._ledger.loads.item(connection, self.id, number))

    def failed_items(self, limit: int) -> list[tuple[int, str, str]]:
        """Number, exception and message of the first items that were given up, in their order."""
        with self._reader() as connection:
            found = self._ledger.reports.chunks(
                connection, self.id, statuses=[ChunkStatus.FAILED, ChunkStatus.SKIPPED], limit=limit
            )
            refs = [ChunkRef(self.id, chunk.number, chunk.path) for chunk in found]
            latest = self._ledger.failures.latest
            return [
                (ref.number, failure.error, failure.message)
                for ref in refs
                for failure in latest(connection, self.id, chunk=ref, limit=1)
            ]


def item_state(runtime: Runtime, connection: Connection, run: Run, claim: Claim) -> ItemState:
    """What attempts have left at an item; a first attempt need not ask."""
    if not claim.waited:
        return ItemState()
    with runtime.database.reading(connection) as ledger:
        return runtime.ledger.results.state(ledger, run.id, claim.ref.number, run.round)


def kept(run: Run, said: object) -> Kept:
    """What ``process`` said of an item.

    Raises:
        TypeError: nothing that can be kept.
    """
    if not isinstance(said, Kept):
        raise TypeError(f"process() of {run.job} returned {type(said).__name__} and not Kept.")
    return said


def keep(runtime: Runtime, connection: Connection, run: Run, claim: Claim, said: Kept) -> None:
    """Write down what ``process`` said of an item; call it beside the done-mark."""
    if said.result is not None:
        runtime.ledger.results.put(connection, run.id, claim.ref.number, said.result)
    runtime.ledger.outbox.send(connection, run, said.outgoing)


def leave_state(
    runtime: Runtime, connection: Connection, run: Run, number: int, again: Again
) -> int:
    """Leave an attempt's state for the next one; how many have asked for one before.

    Call it in the transaction that gives the item, or the callback, back.
    """
    results = runtime.ledger.results
    before = results.state(connection, run.id, number, run.round).agains
    results.leave(connection, run.id, number, run.round, ItemState(before + 1, again.state))
    return before


def end_with(
    runtime: Runtime,
    connection: Connection,
    run: Run,
    result: str | None,
    outgoing: Iterable[str],
) -> None:
    """Write down what a callback leaves; call it in the transaction of the run's end."""
    if result is not None:
        runtime.ledger.results.put(connection, run.id, CALLBACK_NUMBER, result)
    runtime.ledger.outbox.send(connection, run, outgoing)


def keeps_results(runtime: Runtime, run: Run) -> bool:
    """Whether the run's job keeps results, as far as this process knows the job."""
    spec = runtime.jobs.all().get(run.job)
    return spec is not None and spec.options.keeps_results


def reader_on(runtime: Runtime, connection: Connection) -> Reader:
    """Reads the ledger on a connection: in the transaction that it is in, or in one of its own."""

    @contextmanager
    def reading() -> Iterator[Connection]:
        if connection.in_transaction():
            yield connection
            return
        with runtime.database.reading(connection):
            yield connection

    return reading
