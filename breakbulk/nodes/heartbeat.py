"""A file that a worker touches as long as it lives, for whoever restarts it when it does not.

A probe that asks over the broker kills busy workers, and all of them at once when the broker is
away. This one asks nobody: it says that the main process gets its turn and that its steward's
thread is there. A busy worker, one without a broker and one without a database are alive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("breakbulk.node")

#: The file to touch.
HEARTBEAT_VARIABLE = "BREAKBULK_HEARTBEAT"
#: How long it may be silent: three of the longest pauses of a machine that is out of memory.
LIVELY_SECONDS = 60.0
_EVERY = 5.0


class Heartbeat:
    """Touches a file in a thread of the worker's main process.

    Args:
        file: it is made when the worker begins, and removed when it ends.
        healthy: whether the worker's threads are all there.
    """

    def __init__(self, file: Path, healthy: Callable[[], bool]) -> None:
        self._file = file
        self._healthy = healthy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="breakbulk-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.beat()
        self._thread.start()

    def stop(self) -> None:
        """End; the file goes with the worker."""
        self._stop.set()
        self._file.unlink(missing_ok=True)

    def beat(self) -> None:
        """Touch the file, if all is well."""
        if not self._healthy():
            return
        try:
            self._file.touch()
        except OSError as error:
            log.warning("the heartbeat cannot be written: %s", error)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            self.beat()


def silence_of(file: Path) -> float | None:
    """For how many seconds a heartbeat was silent; None where there is none."""
    try:
        # By the clock that has stamped the file.
        return max(0.0, time.time() - file.stat().st_mtime)
    except OSError:
        return None
