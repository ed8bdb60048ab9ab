"""The thread in which a worker's steward looks around."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from breakbulk.errors import BreakbulkError
from breakbulk.runner.ledger_thread import LedgerThread
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.steward import Steward


class StewardThread(LedgerThread):
    """Runs a steward until it is told to stop."""

    def __init__(self, runtime: Runtime, steward: Steward) -> None:
        super().__init__(
            runtime, name="breakbulk-steward", interrupted="the steward was interrupted"
        )
        self._steward = steward

    def start(self) -> None:
        """Register the worker, then begin: lanes of an unknown worker would be orphans."""
        try:
            with self._ledger() as connection:
                self._steward.tick(connection)
        except (SQLAlchemyError, BreakbulkError) as error:
            self._complain("the steward cannot work yet", error)
        self._thread.start()

    def stop(self) -> None:
        """Sign the worker off."""
        self._stop.set()
        self._thread.join(timeout=10)
        try:
            with self._ledger() as connection:
                self._steward.leave(connection)
        except (SQLAlchemyError, BreakbulkError) as error:
            self._complain("the worker could not sign off", error)

    def _work(self, connection: Connection) -> None:
        while not self._wait(connection, self._runtime.settings.steward_seconds):
            self._steward.tick(connection)
            self._complained = ""

    def _wait(self, connection: Connection, seconds: float) -> bool:
        """Wait for the next look around; whether it is time to stop."""
        with self._runtime.database.let_go(connection):
            return self._stop.wait(seconds)
