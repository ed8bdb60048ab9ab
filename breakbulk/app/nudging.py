"""Asking for lanes in a thread of its own, so that nobody's request waits for a broker.

A broker that is down is found out at once; one that is cut off, only after seconds. Whoever has
just committed must not pay for that: the nudge only makes things faster.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta

from breakbulk.broker import Broker
from breakbulk.domain.run import Run
from breakbulk.ledger.faults import translated
from breakbulk.runner.circulation import MESSAGE_LIFE
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk")

_instances: weakref.WeakSet[Nudges] = weakref.WeakSet()


class Nudges:
    """Nudges of one application in one process.

    At most one thread is at it, so that requests do not pile up threads in front of a broker that
    does not answer. It is no daemon: a script that submits and ends gets its nudge out.

    Args:
        nudge: asks for a run's lanes; may block, and may raise.
    """

    def __init__(self, nudge: Callable[[Run], None]) -> None:
        self._nudge = nudge
        self._lock = threading.Lock()
        self._waiting: dict[int, Run] = {}
        self._thread: threading.Thread | None = None
        _instances.add(self)

    def later(self, run: Run) -> None:
        """Ask for a run's lanes soon. Returns at once and never raises."""
        with self._lock:
            self._waiting[run.id] = run
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._work, name="breakbulk-nudges")
            self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:
            # No thread can be had, or the interpreter ends.
            with self._lock:
                self._waiting.clear()
                self._thread = None
            _missed(run, error)

    @property
    def idle(self) -> bool:
        """Whether nobody is to be asked any more."""
        with self._lock:
            return self._thread is None

    def _work(self) -> None:
        while (run := self._next()) is not None:
            try:
                self._nudge(run)
            except Exception as error:  # noqa: BLE001  (the run is committed: this only costs time)
                _missed(run, error)

    def _next(self) -> Run | None:
        with self._lock:
            if not self._waiting:
                self._thread = None
                return None
            return self._waiting.pop(next(iter(self._waiting)))

    def forget(self) -> None:
        """Begin anew in a forked child, which has neither the thread nor who holds the lock."""
        self._lock = threading.Lock()
        self._waiting = {}
        self._thread = None


def ask_for_lanes(runtime: Runtime, broker: Broker, run: Run) -> None:
    """Send as many messages as a run may have lanes more, and as slots are free."""
    ledger = runtime.ledger
    with translated(), runtime.database.reading() as connection:
        slots = ledger.workers.slots(connection)
        demands = ledger.lanes.demand(connection, slots, queue=run.queue, jobs=[run.job])
        free = ledger.workers.free_slots(connection).get((run.queue, run.job), 1)
        late = ledger.lanes.now(connection) + timedelta(seconds=MESSAGE_LIFE)
    for demand in demands:
        # Lanes that are at work look for themselves who has none.
        if demand.run_id == run.id and free > 0:
            broker.send_lanes(run.queue, min(demand.wanted - demand.present, free), late)


def _missed(run: Run, error: Exception) -> None:
    log.warning(
        "run %s is submitted, but no lane was asked for; the steward will ask: %s", run.id, error
    )


def _forget_all() -> None:
    for nudges in list(_instances):
        nudges.forget()


os.register_at_fork(after_in_child=_forget_all)
