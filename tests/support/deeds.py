"""What a chunk does when it is ordered to: what only happens inside a worker's process."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

_MICROSECONDS = 1_000_000


def hog(_session: Session, *, seconds: float) -> None:
    """Be C code that keeps the interpreter's lock: no other thread of the process runs."""
    # PyDLL, unlike CDLL, does not let go of it.
    ctypes.PyDLL(None).usleep(int(seconds * _MICROSECONDS))


def die_in_commit(session: Session) -> None:
    """Be killed when COMMIT is on the wire and nobody has heard the answer."""

    def send_and_die(connection: Any) -> None:
        connection.connection.driver_connection.pgconn.send_query(b"COMMIT")
        os.kill(os.getpid(), signal.SIGKILL)

    event.listen(session.connection(), "commit", send_and_die)


DEEDS: dict[str, Callable[..., None]] = {
    "hog": hog,
    "die in commit": die_in_commit,
}
