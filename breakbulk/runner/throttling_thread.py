"""The thread in which the leader's worker looks at what runs hold back on.

Not the steward's own: however long a user's statement takes, no lease waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from breakbulk.runner.ledger_thread import LedgerThread
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.throttling import Throttling

#: The longest that a look may take to end in a shutdown. Seconds.
_LAST_WAIT = 5.0


class ThrottlingThread(LedgerThread):
    """Looks as long as its worker's steward leads and a run has a throttle, or sizes itself.

    Args:
        needed: whether that is so.
    """

    def __init__(self, runtime: Runtime, needed: Callable[[], bool]) -> None:
        super().__init__(
            runtime, name="breakbulk-throttling", interrupted="looking at throttles was interrupted"
        )
        self._throttling = Throttling(runtime)
        self._asked_for = needed

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look at hand."""
        self._stop.set()
        self._thread.join(timeout=_LAST_WAIT)

    def _needed(self) -> bool:
        return self._asked_for() and not self._stop.is_set()

    def _work(self, connection: Connection) -> None:
        while self._needed():
            self._throttling.look(connection)
            self._complained = ""
            with self._runtime.database.let_go(connection):
                self._stop.wait(self._runtime.settings.throttle_seconds)
        if not self._stop.is_set():
            # Of runs that have ended since the last look nothing need be kept.
            self._throttling.look(connection)
