"""The thread in which a worker's steward looks around."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from breakbulk.errors import BreakbulkError
from breakbulk.ledger import migrations
from breakbulk.ledger.faults import translated
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.steward import Steward

log = logging.getLogger("breakbulk.steward")


class StewardThread:
    """Runs a steward until it is told to stop; survives every loss of the database.

    Where the ledger cannot be worked on it says so once, in one sentence, and looks again: tables
    that are made meanwhile, or a database that comes back, need no restart.
    """

    def __init__(self, runtime: Runtime, steward: Steward) -> None:
        self._runtime = runtime
        self._steward = steward
        self._stop = threading.Event()
        self._complained = ""
        self._thread = threading.Thread(target=self._run, name="breakbulk-steward", daemon=True)

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

    def _run(self) -> None:
        pause = self._runtime.settings.steward_seconds
        while not self._stop.is_set():
            try:
                with self._ledger(beside_forks=True) as connection:
                    while not self._wait(connection, pause):
                        self._steward.tick(connection)
                        self._complained = ""
            except Exception as error:  # noqa: BLE001  (it must go on)
                self._complain("the steward was interrupted", error)
                self._stop.wait(pause)

    def _wait(self, connection: Connection, seconds: float) -> bool:
        """Wait for the next look around; whether it is time to stop."""
        with self._runtime.database.let_go(connection):
            return self._stop.wait(seconds)

    @contextmanager
    def _ledger(self, *, beside_forks: bool = False) -> Iterator[Connection]:
        """A connection to the ledger, once its tables are known to be of use."""
        database = self._runtime.database
        connect = database.connect_beside_forks if beside_forks else database.connect
        with translated(), connect() as connection:
            with database.reading(connection):
                migrations.require_no_older(connection, database)
            yield connection

    def _complain(self, what: str, error: Exception) -> None:
        """Say once what is wrong, in one sentence if somebody has foreseen it."""
        sentence = str(error).partition("\n")[0]
        if sentence != self._complained:
            foreseen = isinstance(error, BreakbulkError)
            log.warning("%s: %s", what, sentence, exc_info=None if foreseen else error)
        self._complained = sentence
