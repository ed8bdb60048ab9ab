"""Reading an iterable into the ledger while lanes work on what is there already.

Whoever submits reads it, once, in batches of bounded size that commit one by one, and holds a
lease meanwhile. If it ends early, because it raised or its process died, the run is stopped and
fails: it never succeeds with half. Who submits it again with its idempotency key goes on where it
ended, after making sure that the new iterable begins with the same items.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from breakbulk.domain.chunk import RunId
from breakbulk.domain.failure import Failure
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, WORKABLE, RunStatus
from breakbulk.errors import CanvasError, LostClaim, SourceError, StateError
from breakbulk.jobs import JobRun, JobSpec
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.loads import Producer
from breakbulk.runner.earlyend import end_early, gone
from breakbulk.runner.keeper import Keeper
from breakbulk.runner.patience import Backoff
from breakbulk.runner.reading import Batch, Reading
from breakbulk.runner.retry import reopen
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.submit import Submitted, this_producer
from breakbulk.sources import Items

log = logging.getLogger("breakbulk.load")

#: Called with a run's number and how many of its items are in the ledger.
Tell = Callable[[int, int], None]
#: How often it is tried to say that a source has ended early, in seconds.
_SAY_AGAIN = 1.0
#: Lanes are asked for no more often than that, in seconds.
_ASK_AGAIN = 1.0
#: The run wants what is read: those that stand still may go on later.
_WANTED = WORKABLE | {RunStatus.HELD, RunStatus.PAUSING, RunStatus.PAUSED}


def load(
    runtime: Runtime,
    submitted: Submitted,
    spec: JobSpec,
    job: Any,
    *,
    within: Connection | None = None,
    ask: Callable[[Run], None] = lambda _run: None,
    tell: Tell | None = None,
) -> Submitted:
    """Read the iterable of a run that was just submitted, if it has one to be read.

    Args:
        submitted: a run that is new, or that was found by its idempotency key.
        within: the connection of the caller's own transaction, in which everything is to be.
        ask: asks for lanes, without waiting for them.
        tell: called after each batch.

    Raises:
        SourceError: the iterable ended early, or does not begin with the items that were read
            before.
        StateError: the run is still ending after an iterable that ended early.
        LostClaim: the run was taken from this process, which was not heard from for too long.
    """
    if submitted.loading is not None:
        items, producer = submitted.loading
        most, nouns = runtime.settings.max_item_bytes, submitted.run.nouns
        reading = Reading(_through(items.iterable), most, nouns)
    elif not submitted.run.of_items:
        return submitted
    else:
        taken = _take_up(runtime, submitted.run.id, spec, job, within)
        if taken is None:
            return submitted
        reading, producer = taken
    loading = _Loading(runtime, submitted.run, reading, producer, within=within, ask=ask, tell=tell)
    run, loaded = loading.go()
    return replace(submitted, run=run, loading=None, loaded=loaded)


@contextmanager
def all_or_nothing(runtime: Runtime, connection: Connection) -> Iterator[None]:
    """Leave nothing behind in the caller's transaction of a submit that raised."""
    # Before a savepoint, SQLite's driver does not begin a transaction.
    runtime.database.begin_writing(connection)
    with connection.begin_nested():
        yield


def _through(iterable: Iterable[Any]) -> Iterator[Any]:
    # Whatever it does when it is asked for its first item it does within our reach.
    yield from iterable


def _take_up(
    runtime: Runtime, run_id: RunId, spec: JobSpec, job: Any, within: Connection | None
) -> tuple[Reading, Producer] | None:
    """Go on with an iterable that ended early; None when there is nothing to go on with."""
    ledger, database = runtime.ledger, runtime.database
    with nullcontext(within) if within is not None else database.reading() as connection:
        run = ledger.runs.get(connection, run_id)
        found = ledger.loads.get(connection, run_id)
    if (
        found is None
        or found.ended
        or run.status is RunStatus.CANCELLED
        or not gone(runtime, found)
    ):
        return None
    if run.status not in _WANTED | FINISHED:
        if run.outcome is not RunStatus.FAILED:
            return None
        raise StateError(
            f"Run {run_id} is still {run.status} after its {run.nouns.source} ended early:"
            f" {run.nouns.submit} again when it has failed."
        )
    items = spec.source(job, JobRun(run.submitted_at, run_id))
    if not isinstance(items, Items):
        raise SourceError(
            f"source() of {spec.name} gave items when run {run_id} was submitted and gives rows"
            " now: use another idempotency key."
        )
    reading = Reading(_through(items.iterable), runtime.settings.max_item_bytes, run.nouns)
    reading.skip(found, run_id)
    producer = this_producer()
    with nullcontext(within) if within is not None else database.transaction() as connection:
        ledger.claims.lock(connection, run_id)
        run = ledger.runs.get(connection, run_id)
        if run.status not in _WANTED and run.status is not RunStatus.FAILED:
            return None
        if not ledger.loads.take(connection, found, producer, runtime.settings.lease_seconds):
            return None
        if run.status is RunStatus.FAILED:
            ledger.retries.reopen(
                connection, run_id, error=None, chunk=None, key=None, cancelled=True
            )
            reopen(runtime, connection, run, RunStatus.LOADING, "producer", round=run.round + 1)
    return reading, producer


class _Loading:
    """One submit's way through an iterable."""

    def __init__(
        self,
        runtime: Runtime,
        run: Run,
        reading: Reading,
        producer: Producer,
        *,
        within: Connection | None,
        ask: Callable[[Run], None],
        tell: Tell | None,
    ) -> None:
        self._runtime = runtime
        self._run = run
        self._reading = reading
        self._token = producer.token
        self._within = within
        self._ask, self._tell = ask, tell
        self._asked_at = float("-inf")
        self._stored, self._digest = reading.number, reading.digest
        self._lease = runtime.settings.lease_seconds

    def go(self) -> tuple[Run, bool]:
        """Read it all; the run then, and whether the iterable was read to its end."""
        if self._within is not None:
            try:
                return self._read(), True
            except _Unwanted:
                return self._runtime.ledger.runs.get(self._within, self._run.id), False
        keeper = Keeper(self._runtime, self._run.id, self._token)
        try:
            keeper.start()
            run = self._read()
        except _Unwanted as unwanted:
            self._give_up(unwanted)
            self._reading.close()
            return self._now(), False
        except LostClaim:
            raise
        except BaseException as error:
            self._give_up(error)
            if not isinstance(error, Exception):
                # Nobody may be there to whom an exception could tell how to go on.
                log.warning("%s", self._sentence(error))
                raise
            raise SourceError(self._sentence(error), self._run.id) from error
        finally:
            keeper.stop()
        return run, True

    def _read(self) -> Run:
        batch = self._first_batch()
        try:
            while (text := self._reading.next()) is not None:
                batch.add(text)
                if batch.full:
                    full, batch = batch, Batch()
                    self._store(full)
        except (_Unwanted, LostClaim, SQLAlchemyError):
            raise
        except BaseException:
            if self._within is None:
                # What came before is as good as what was stored already.
                self._store(batch)
            raise
        self._store(batch)
        return self._end()

    def _first_batch(self) -> Batch:
        """The batch that the first item comes into.

        Where each item is a chunk of its own it is full with that, for the next one may be long
        in coming, and lanes could work on this one meanwhile.
        """
        alone = self._within is None and self._run.chunk_size == 1
        return Batch(most=1) if alone else Batch()

    def _store(self, batch: Batch) -> None:
        if not batch.texts:
            return
        after, digest = self._stored, batch.digest_after(self._digest)

        def append(connection: Connection) -> RunStatus:
            mine = self._runtime.ledger.loads.append(
                connection,
                self._run.id,
                self._token,
                batch.texts,
                after=after,
                digest=digest,
                lease_seconds=self._lease,
            )
            status = self._runtime.ledger.runs.status(connection, self._run.id)
            if not mine and not self._was_stored(connection, after + len(batch.texts), digest):
                raise self._lost(status)
            return status

        status = self._write(append)
        self._stored, self._digest = after + len(batch.texts), digest
        if status not in _WANTED:
            raise _Unwanted(f"it is {status}")
        if self._tell is not None:
            self._tell(self._run.id, self._stored)
        if self._within is None and time.monotonic() - self._asked_at >= _ASK_AGAIN:
            self._asked_at = time.monotonic()
            self._ask(self._run)

    def _end(self) -> Run:
        ledger, run_id = self._runtime.ledger, self._run.id

        def end(connection: Connection) -> Run:
            ledger.claims.lock(connection, run_id)
            run = ledger.runs.get(connection, run_id)
            if run.status not in _WANTED:
                raise _Unwanted(f"it is {run.status}")
            if not ledger.loads.end(connection, run_id, self._token, self._stored):
                found = ledger.loads.get(connection, run_id)
                if found is None or not found.ended:
                    raise self._lost(run.status)
            else:
                ledger.runs.loaded(connection, run_id, self._stored)
            return ledger.runs.get(connection, run_id)

        run: Run = self._write(end)
        return run

    def _write(self, change: Callable[[Connection], Any]) -> Any:
        """Change the ledger, again on a new connection for as long as there is patience."""
        if self._within is not None:
            return change(self._within)
        until = time.monotonic() + self._runtime.settings.transient_seconds
        backoff = Backoff()
        while True:
            try:
                with self._runtime.database.transaction() as connection:
                    # failpoint: before batch
                    changed = change(connection)
                # failpoint: after batch
            except SQLAlchemyError as error:
                fault = fault_of(error, ours=True)
                again = fault in (Fault.CONNECTION, Fault.TRANSIENT)
                if not again or time.monotonic() >= until:
                    raise
                noun = self._run.nouns.item
                log.warning("run %s: its %ss are stored again: %s", self._run.id, noun, error)
            else:
                return changed
            backoff.wait()

    def _was_stored(self, connection: Connection, items: int, digest: str) -> bool:
        """Whether a batch is there already: the answer to its COMMIT may have been lost."""
        found = self._runtime.ledger.loads.get(connection, self._run.id)
        return (
            found is not None
            and found.producer is not None
            and (found.producer.token, found.items, found.digest) == (self._token, items, digest)
        )

    def _lost(self, status: RunStatus) -> Exception:
        if status not in _WANTED and status is not RunStatus.FAILED:
            return _Unwanted(f"it is {status}")
        item = self._run.nouns.item
        return LostClaim(
            f"Nobody heard from this process for longer than the lease of {self._lease:g} s, so run"
            f" {self._run.id} was stopped at {item} {self._stored}: {self._how_to_go_on()}."
        )

    def _give_up(self, error: BaseException) -> None:
        why = _why(error)
        try:
            self._fail(why)
        except Exception as trouble:  # noqa: BLE001  (whatever it is, somebody has to say it)
            nouns = self._run.nouns
            log.warning(
                "run %s: its %s ended early, told late: %s", self._run.id, nouns.source, trouble
            )
            # On SQLite no steward takes this process for gone as long as it lives.
            name = f"breakbulk-ended-{self._token}"
            threading.Thread(target=self._end_at_last, args=(why,), name=name, daemon=True).start()

    def _fail(self, why: str) -> None:
        with self._runtime.database.connect() as connection:
            end_early(self._runtime, connection, self._run.id, self._token, why.removesuffix("."))

    def _end_at_last(self, why: str) -> None:
        done = False
        while not done:
            time.sleep(_SAY_AGAIN)
            try:
                self._fail(why)
                done = True
            except Exception as error:  # noqa: BLE001  (again, until it is done)
                log.debug("run %s: still to say that it ended: %s", self._run.id, error)

    def _sentence(self, error: BaseException) -> str:
        nouns = self._run.nouns
        return (
            f"The {nouns.source} of run {self._run.id} ended early at {nouns.item} {self._stored},"
            f" so the run has failed: {_why(error).removesuffix('.')}. To go on there,"
            f" {self._how_to_go_on()}."
        )

    def _how_to_go_on(self) -> str:
        key = self._run.idempotency_key
        verb = self._run.nouns.submit
        if key is None:
            return f"{verb} with an idempotency key from the beginning next time"
        return f"{verb} again with the idempotency key {key!r}"

    def _now(self) -> Run:
        with self._runtime.database.reading() as connection:
            return self._runtime.ledger.runs.get(connection, self._run.id)


def _why(error: BaseException) -> str:
    """What people are told of an exception: of ours, the sentence is enough."""
    ours = isinstance(error, (SourceError, CanvasError))
    return str(error) if ours else str(Failure.of(error))


class _Unwanted(Exception):
    """The run has been stopped by name, so nobody wants the rest of its items."""
