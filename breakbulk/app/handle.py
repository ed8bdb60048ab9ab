"""A run in the hands of an application or an operator."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, ChunkStatus, RunStatus
from breakbulk.errors import RunUnsuccessful, WaitTimeout
from breakbulk.ledger.faults import translated
from breakbulk.ledger.reports import ActivityReport, ChunkReport, FailureReport
from breakbulk.runner import audit as auditing
from breakbulk.runner import control
from breakbulk.runner.runtime import Runtime

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run, to be looked at, waited for and steered.

    Attributes:
        created: False when ``submit()`` found it by its idempotency key.
    """

    runtime: Runtime
    id: RunId
    nudge: Callable[[Run], None]
    created: bool = True

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

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            WaitTimeout: it did not end in time. It goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.status()) not in FINISHED:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"Run {self.id} is still {status} after {timeout} s; it goes on.")
            time.sleep(_POLL_SECONDS)
        return self

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

    def pause(self, *, by: str | None = None) -> RunStatus:
        """Stop after the chunks in hand; the status reached so far."""
        with self._connection() as connection:
            return control.pause(self.runtime, connection, self.id, by or who())

    def resume(self, *, by: str | None = None) -> RunStatus:
        """Go on."""
        with self._connection() as connection:
            status = control.resume(self.runtime, connection, self.id, by or who())
        self.nudge(self.record())
        return status

    def cancel(self, *, by: str | None = None, reason: str | None = None) -> RunStatus:
        """End it for good after the chunks in hand; the status reached so far."""
        with self._connection() as connection:
            status = control.cancel(self.runtime, connection, self.id, by or who(), reason)
        if status is RunStatus.FINISHING:
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

    def failures(self, limit: int = 20) -> list[FailureReport]:
        """Its latest failed attempts."""
        with self._reading() as connection:
            return self.runtime.ledger.reports.failures(connection, self.id, limit)

    def activity(self, limit: int = 50) -> list[ActivityReport]:
        """Who did what to it, newest first."""
        with self._reading() as connection:
            return self.runtime.ledger.reports.activity(connection, self.id, limit)

    def audit(self) -> auditing.Audit:
        """Prove from the ledger that its chunks cover its key range exactly once."""
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
