"""The thread in which the leader's worker sends what is in the outbox.

Not the steward's own: whatever a receiver or the broker does, no lease waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from breakbulk.runner.ledger_thread import LedgerThread
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.sending import Sender, SendLink

#: What has been sent by a shutdown is waited for that long, so that it is not sent again. Seconds.
_LAST_WAIT = 3.0


class OutboxThread(LedgerThread):
    """Sends while its worker's steward leads.

    Args:
        leads: whether it does.
        send_link: puts a linked signature on the broker, or raises.
    """

    def __init__(self, runtime: Runtime, leads: Callable[[], bool], send_link: SendLink) -> None:
        super().__init__(
            runtime, name="breakbulk-outbox", interrupted="sending events was interrupted"
        )
        self._leads = leads
        self._sender = Sender(runtime, send_link)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new, and write down what comes back in time."""
        self._stop.set()
        # It need not wait until the next look.
        self._sender.answered.set()
        self._thread.join(timeout=_LAST_WAIT + 2)

    def _needed(self) -> bool:
        return self._sender.busy or (self._leads() and not self._stop.is_set())

    def _work(self, connection: Connection) -> None:
        last = float("inf")
        while self._needed() and time.monotonic() < last:
            self._sender.tick(connection, begin=self._leads() and not self._stop.is_set())
            self._complained = ""
            if self._stop.is_set():
                last = min(last, time.monotonic() + _LAST_WAIT)
            with self._runtime.database.let_go(connection):
                self._sender.answered.wait(self._runtime.settings.steward_seconds)
