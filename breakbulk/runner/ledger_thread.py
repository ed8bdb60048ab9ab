"""A thread of a worker's main process that works on the ledger, beside what the pool forks."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from breakbulk.errors import BreakbulkError
from breakbulk.ledger import migrations
from breakbulk.ledger.faults import is_in_the_way, translated
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.steward")


class LedgerThread(ABC):
    """Works until it is told to stop; survives every loss of the database.

    Where the ledger cannot be worked on it says so once, in one sentence, and looks again: tables
    that are made meanwhile, or a database that comes back, need no restart.

    Args:
        name: of the thread.
        interrupted: what the log says when something goes wrong.
    """

    def __init__(self, runtime: Runtime, *, name: str, interrupted: str) -> None:
        self._runtime = runtime
        self._interrupted = interrupted
        self._stop = threading.Event()
        self._complained = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it goes on; it should, until it is told to stop."""
        return self._thread.is_alive()

    @abstractmethod
    def _work(self, connection: Connection) -> None:
        """Work on the ledger, on a connection that is good for it, until there is nothing to do."""

    def _needed(self) -> bool:
        """Whether there is any reason to connect."""
        return True

    def _run(self) -> None:
        pause = self._runtime.settings.steward_seconds
        while not self._stop.is_set():
            if self._needed():
                self._visit()
            self._stop.wait(pause)

    def _visit(self) -> None:
        try:
            with self._ledger(apart=True) as connection:
                self._work(connection)
        except Exception as error:  # noqa: BLE001  (it must go on)
            self._complain(self._interrupted, error)

    @contextmanager
    def _ledger(self, *, apart: bool = False) -> Iterator[Connection]:
        """A connection to the ledger, once its tables are known to be of use."""
        database = self._runtime.database
        connect = database.connect_apart if apart else database.connect
        with translated(), connect() as connection:
            with database.reading(connection):
                migrations.require_no_older(connection, database)
            yield connection

    def _complain(self, what: str, error: Exception) -> None:
        """Say once what is wrong, in one sentence if somebody has foreseen it."""
        sentence = str(error).partition("\n")[0]
        if sentence != self._complained:
            foreseen = isinstance(error, BreakbulkError) or is_in_the_way(error)
            log.warning("%s: %s", what, sentence, exc_info=None if foreseen else error)
        self._complained = sentence
