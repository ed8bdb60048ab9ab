"""Ends processes that are at their chunk for too long, and asks no database for it.

A chunk that hangs may be what the database waits for: on SQLite it has the only writer's turn, and
a steward that waits for that turn, too, would never come to end it. So this looks at nothing but
the memory that a worker's processes share. What it has ended it remembers, for the steward: by the
time that one can write it down the process is dead, and another one may have its slot.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from contextlib import suppress
from uuid import UUID

from breakbulk.runner.deadlines import Deadlines, Late
from breakbulk.runner.runtime import is_alive

log = logging.getLogger("breakbulk.watch")

#: More than a steward can be behind with.
_REMEMBERED = 1024


class Watch:
    """Watches the lanes of one worker, in a thread of its main process.

    Args:
        deadlines: until when each lane may be at its chunk.
        pause: seconds from one look to the next.
    """

    def __init__(self, deadlines: Deadlines, pause: float) -> None:
        self._deadlines = deadlines
        self._pause = pause
        self._ended: deque[Late] = deque(maxlen=_REMEMBERED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="breakbulk-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; nobody is at work any more."""
        self._stop.set()

    def overdue(self) -> set[UUID]:
        """Lanes that should have been done by now, among them those whose process is ended."""
        late = set()
        for one in self._deadlines.late():
            if one.pid == os.getpid():
                # A thread cannot be killed.
                late.add(one.lane)
            elif is_alive(one.pid, one.started):
                self._end(one)
        return late | {one.lane for one in tuple(self._ended)}

    def seconds_of(self, lane: UUID) -> float | None:
        """How long a lane has been at its chunk, or was when it died; None if it is not known."""
        for one in tuple(self._ended):
            if one.lane == lane:
                return one.seconds
        return self._deadlines.seconds_of(lane)

    def _end(self, late: Late) -> None:
        # Asked again, now that it is known whose number that is: it may have gone on meanwhile.
        if not self._deadlines.is_still(late):
            return
        if late.lane not in {one.lane for one in tuple(self._ended)}:
            # Before it dies: whoever finds it dead must find out why.
            self._ended.append(late)
            log.warning(
                "process %d has been at its chunk for %.1f s, which is too long, and is ended",
                late.pid,
                late.seconds,
            )
        with suppress(ProcessLookupError):
            os.kill(late.pid, signal.SIGKILL)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                self.overdue()
            except Exception:  # it must go on
                log.exception("the watch was interrupted")
