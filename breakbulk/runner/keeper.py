"""The lease of whoever reads an iterable, extended while the next item is waited for."""

from __future__ import annotations

import logging
import threading
from uuid import UUID

from breakbulk.domain.chunk import RunId
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.load")


class Keeper:
    """Extends a producer's lease while it waits for its next item, in a thread of its own."""

    def __init__(self, runtime: Runtime, run_id: RunId, token: UUID) -> None:
        self._runtime = runtime
        self._run_id = run_id
        self._token = token
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, name=f"breakbulk-lease-{run_id}", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let it end."""
        self._over.set()
        if self._thread.ident is not None:  # there may have been no thread to be had
            self._thread.join()

    def _keep(self) -> None:
        seconds = self._runtime.settings.lease_seconds
        while not self._over.wait(seconds / 3):
            try:
                self._extend(seconds)
            except Exception as error:  # noqa: BLE001  (again next time; a batch does it, too)
                log.debug("run %s: its lease is not extended: %s", self._run_id, error)

    def _extend(self, seconds: float) -> None:
        database = self._runtime.database
        with database.connect_apart() as connection, database.transaction(connection):
            self._runtime.ledger.loads.extend(connection, self._run_id, self._token, seconds)
