"""A run in the hands of an application or an operator."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, Unpack

from sqlalchemy import Connection

from breakbulk.app.picture import ChunkPicture, Picture, chunk_picture, picture
from breakbulk.domain.chunk import Bounds, ChunkRef, RunId, parse_chunk
from breakbulk.domain.chunkmap import MOST_CELLS, ChunkMap
from breakbulk.domain.failed import FailureGroup, FailureReport, QuarantinedRow
from breakbulk.domain.keys import Key, encode_key
from breakbulk.domain.looking import pause_after
from breakbulk.domain.progress import Progress
from breakbulk.domain.retry import class_name
from breakbulk.domain.run import Run
from breakbulk.domain.series import Series
from breakbulk.domain.sizing import SizeReport
from breakbulk.domain.status import FINISHED, ChunkStatus, RunStatus
from breakbulk.domain.throttle import Throttle, ThrottleOptions
from breakbulk.errors import RunNotFound, RunUnsuccessful, WaitTimeout
from breakbulk.ledger.faults import translated
from breakbulk.ledger.reports import ActivityReport, ChunkReport
from breakbulk.ledger.stays import LaneReport
from breakbulk.runner import audit as auditing
from breakbulk.runner import control, limits
from breakbulk.runner import prune as pruning
from breakbulk.runner import retry as retrying
from breakbulk.runner.prune import Pruned
from breakbulk.runner.query import query_of
from breakbulk.runner.retry import Choice, Retried
from breakbulk.runner.runtime import Runtime

#: Between two looks of whoever waits long.
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, repr=False)
class RunHandle:
    """A run, to be looked at, waited for and steered.

    Attributes:
        job: the name of its job.
        created: False when ``submit()`` found it by its idempotency key.
        actor: whose name goes on what is done with it; default the operating system's user and
            host.
    """

    runtime: Runtime
    id: RunId
    job: str
    nudge: Callable[[Run], None]
    created: bool = True
    actor: str | None = None

    def __repr__(self) -> str:
        # What a debugger shows asks no database.
        return f"<Run {self.id} of {self.job}>"

    def record(self) -> Run:
        """The run as the ledger has it now."""
        with self._reading() as connection:
            return self.runtime.ledger.runs.get(connection, self.id)

    def status(self) -> RunStatus:
        """Where it stands now."""
        return self.record().status

    def progress(self) -> Progress:
        """How far it is now."""
        with self._reading() as connection:
            ledger = self.runtime.ledger
            run = ledger.runs.get(connection, self.id)
            return ledger.reports.progress(connection, run)

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the run has ended.

        It looks often at first and five times a second in the end.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            WaitTimeout: it did not end in time. It goes on, unless it is paused or held.
        """
        began = time.monotonic()
        while (status := self.status()) not in FINISHED:
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise WaitTimeout(
                    f"Run {self.id} is still {status} after {timeout} s{self._hope()}."
                )
            left = float("inf") if timeout is None else timeout - waited
            time.sleep(min(pause_after(waited, _POLL_SECONDS), left))
        return self

    def _hope(self) -> str:
        """What becomes of it after all, as the rest of a sentence."""
        run = self.record()
        match run.status:
            case RunStatus.HELD:
                why = (run.reason or "nobody has said why").removesuffix(".")
                return f" ({why}): put that right, and resume it"
            case RunStatus.PAUSING | RunStatus.PAUSED:
                return ": resume it, and it goes on"
        return "; it goes on"

    def raise_for_status(self) -> Self:
        """Raise unless the run has succeeded.

        Raises:
            RunUnsuccessful: it ended otherwise, or has not ended.
        """
        run = self.record()
        if run.status is not RunStatus.SUCCEEDED:
            why = f": {run.reason}" if run.reason else ""
            raise RunUnsuccessful(f"Run {self.id} is {run.status}{why}.", str(run.status))
        return self

    def pause(self, *, by: str | None = None, reason: str | None = None) -> RunStatus:
        """Stop after the chunks in hand; the status reached so far.

        Args:
            reason: why; noted in its activity, and shown as long as it stands.
        """
        with self._connection() as connection:
            return control.pause(
                self.runtime, connection, self.id, by or self.actor or who(), reason
            )

    def resume(self, *, by: str | None = None, reason: str | None = None) -> RunStatus:
        """Go on.

        Args:
            reason: why; noted in its activity.
        """
        with self._connection() as connection:
            status = control.resume(
                self.runtime, connection, self.id, by or self.actor or who(), reason
            )
        self.nudge(self.record())
        return status

    def cancel(
        self, *, force: bool = False, by: str | None = None, reason: str | None = None
    ) -> RunStatus:
        """End it for good after the chunks in hand; the status reached so far.

        Args:
            force: end the chunks in hand, too. What they have done is rolled back.
            reason: why; noted in its activity, and the reason of its end.
        """
        with self._connection() as connection:
            status = control.cancel(
                self.runtime, connection, self.id, by or self.actor or who(), reason, force=force
            )
        if status is RunStatus.FINISHING:
            self.nudge(self.record())
        return status

    def limit_lanes(self, lanes: int | None, *, by: str | None = None) -> None:
        """Let it have at most so many lanes from now on.

        More are asked for at once; those that are too many end after the chunk in hand.

        Args:
            lanes: 1 or more; None for as many as workers have slots.

        Raises:
            ParameterError: that is no number of lanes.
            StateError: the run has ended.
        """
        with self._connection() as connection:
            limits.limit_lanes(self.runtime, connection, self.id, lanes, by or self.actor or who())
        self.nudge(self.record())

    def limit(self, *, by: str | None = None, **changes: Unpack[ThrottleOptions]) -> Throttle:
        """Change on what it holds back, from now on; what it is by then.

        Lanes at work end after the chunk in hand. As soon as all has been looked at that is asked
        for now, it goes on by itself.

        Args:
            changes: those of ``ThrottleOptions`` that are given anew; None takes one away, as in
                ``run.limit(max_rows_per_second=500, only=None)``.

        Raises:
            ParameterError: a value cannot be meant, or not with this database.
            StateError: the run has ended.
        """
        with self._connection() as connection:
            throttle = limits.limit(
                self.runtime, connection, self.id, changes, by or self.actor or who()
            )
        self.nudge(self.record())
        return throttle

    def retry(
        self,
        *,
        error: str | type[BaseException] | None = None,
        chunk: str | int | tuple[int, str] | None = None,
        key: Key | str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> Retried:
        """Try again what failed, in the run's next round; all of it unless something is given.

        Args:
            error: only what failed with this exception: the class, or its name.
            chunk: only this chunk and what it was split into, as in ``12`` or ``"12.01"``.
            key: only the row with this key, as a tuple or as ``errors()`` shows it.
            reason: why; noted in its activity.

        Raises:
            StateError: the run has not ended, was cancelled, or nothing that failed is meant.
            OverlapError: another run of the same job and parameters goes on.
        """
        choice = Choice(
            error=class_name(error) if isinstance(error, type) else error,
            chunk=parse_chunk(str(chunk)) if isinstance(chunk, (str, int)) else chunk,
            key=encode_key(key) if isinstance(key, tuple) else key,
        )
        with self._connection() as connection:
            retried = retrying.retry(
                self.runtime, connection, self.id, by or self.actor or who(), choice, reason=reason
            )
        self.nudge(self.record())
        return retried

    def finish(self, *, by: str | None = None, reason: str | None = None) -> RunStatus:
        """Call back again where the callback has failed for good; the status reached so far.

        Args:
            reason: why; noted in its activity.

        Raises:
            StateError: it was not the callback that failed.
        """
        with self._connection() as connection:
            status = retrying.finish_again(
                self.runtime, connection, self.id, by or self.actor or who(), reason
            )
        self.nudge(self.record())
        return status

    def chunks(
        self,
        *,
        statuses: Iterable[ChunkStatus] | None = None,
        after: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[ChunkReport]:
        """A page of its chunks in the order of keys, those after ``(number, path)``."""
        with self._reading() as connection:
            return self.runtime.ledger.reports.chunks(
                connection, self.id, statuses=statuses, after=after, limit=limit
            )

    def failures(
        self,
        limit: int = 20,
        *,
        chunk: tuple[int, str] | None = None,
        error: str | None = None,
        before: int | None = None,
    ) -> list[FailureReport]:
        """Its latest failed attempts, newest first.

        Args:
            chunk: only those of this chunk: number and path.
            error: only those that raised this class.
            before: only those that were written down before the one with this id.
        """
        ref = None if chunk is None else ChunkRef(self.id, *chunk)
        with self._reading() as connection:
            return self.runtime.ledger.failures.latest(
                connection, self.id, chunk=ref, error=error, before=before, limit=limit
            )

    def failure_groups(self) -> list[FailureGroup]:
        """Its failed attempts by exception and place, the most frequent first."""
        with self._reading() as connection:
            return self.runtime.ledger.failures.groups(connection, self.id)

    def errors(self, *, after: int = 0, limit: int = 100) -> list[QuarantinedRow]:
        """A page of its rows in quarantine, those after the one with this id."""
        with self._reading() as connection:
            return self.runtime.ledger.quarantine.page(
                connection, self.id, after=after, limit=limit
            )

    def quarantined(self) -> int:
        """How many of its rows are in quarantine."""
        with self._reading() as connection:
            return self.runtime.ledger.quarantine.count(connection, self.id)

    def activity(self, limit: int = 50, *, before: int | None = None) -> list[ActivityReport]:
        """Who did what to it, newest first, those before the one with this id."""
        with self._reading() as connection:
            return self.runtime.ledger.reports.activity(connection, self.id, limit, before=before)

    def sizes(self, limit: int = 10) -> list[SizeReport]:
        """How the size of its chunks has changed, newest first; none where it is fixed."""
        with self._reading() as connection:
            return self.runtime.ledger.sizes.latest(connection, self.id, limit)

    def parts(self, number: int, path: str = "") -> list[ChunkReport]:
        """A chunk with all that it was split off from and into; empty if it is not there."""
        with self._reading() as connection:
            return self.runtime.ledger.reports.parts(connection, ChunkRef(self.id, number, path))

    def lanes(self) -> list[LaneReport]:
        """Its lanes at work: on which worker, since when, and at which chunk."""
        with self._reading() as connection:
            return self.runtime.ledger.stays.lanes(connection, self.id)

    def chunk_sql(self, number: int, path: str = "") -> str | None:
        """The SQL that gives exactly a chunk's rows; None where this process cannot write it."""
        found = next((part for part in self.parts(number, path) if part.path == path), None)
        if found is None:
            return None
        return query_of(self.runtime, self.record(), Bounds.decoded(found.after, found.upto))

    def chunk_map(self, *, most: int = MOST_CELLS) -> ChunkMap:
        """Its key range in at most so many cells, whatever the number of its chunks."""
        with self._reading() as connection:
            ledger = self.runtime.ledger
            run = ledger.runs.get(connection, self.id)
            progress = ledger.reports.progress(connection, run)
            return ledger.charts.chunk_map(connection, run, progress, most=most)

    def series(self) -> Series:
        """Rows and failures over its time."""
        with self._reading() as connection:
            ledger = self.runtime.ledger
            run = ledger.runs.get(connection, self.id)
            return ledger.charts.series(connection, run)

    def slowest(self, limit: int = 10) -> list[ChunkReport]:
        """The chunks that took longest, of the latest 2,000."""
        with self._reading() as connection:
            ledger = self.runtime.ledger
            progress = ledger.reports.progress(connection, ledger.runs.get(connection, self.id))
            return ledger.charts.slowest(connection, self.id, progress, limit)

    def picture(
        self,
        *,
        cells: int = MOST_CELLS,
        slowest: int = 10,
        activity: int = 50,
        events: int = 50,
    ) -> Picture:
        """All of that at once, at a cost that does not grow with its chunks.

        Args:
            cells, slowest, activity, events: how many of them at most.
        """
        with self._reading() as connection:
            return picture(
                self.runtime.ledger,
                connection,
                self.id,
                cells=cells,
                slowest=slowest,
                activity=activity,
                events=events,
            )

    def chunk_picture(self, number: int, path: str = "") -> ChunkPicture | None:
        """All about one of its chunks at once; None if it is not there."""
        with self._reading() as connection:
            return chunk_picture(self.runtime, connection, ChunkRef(self.id, number, path))

    def tag(self) -> str:
        """Changes whenever a look at the run would show something else.

        Raises:
            RunNotFound: the run is no more.
        """
        with self._reading() as connection:
            tag = self.runtime.ledger.charts.tag(connection, self.id)
        if tag is None:
            raise RunNotFound(f"There is no run {self.id}.")
        return tag

    def prune(self, *, by: str | None = None) -> Pruned:
        """Take it out of the ledger with all that is known of it, unless it is still needed.

        Raises:
            StateError: it has not ended.
        """
        with self._connection() as connection:
            return pruning.prune(self.runtime, connection, self.id, by or self.actor or who())

    def audit(self) -> auditing.Audit:
        """Prove from the ledger that its chunks cover its key range exactly once.

        Raises:
            StateError: it is being pruned.
        """
        run = self.record()
        with self._connection() as connection:
            if not self.runtime.at_least_once:
                return auditing.audit(self.runtime, connection, connection, run)
            with self.runtime.data.connect() as rows:
                return auditing.audit(self.runtime, connection, rows, run)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with translated(), self.runtime.database.connect() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(), self.runtime.database.reading() as connection:
            yield connection


def who() -> str:
    """Whose name goes on a run: the operating system's user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
