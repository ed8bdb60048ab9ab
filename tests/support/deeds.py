"""What a chunk does when it is ordered to: what only happens inside a worker's process."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def befall(deed: str | None, name: str) -> None:
    """What befalls a process at a row that is bad."""
    match deed:
        case "raise":
            raise ValueError(f"{name} has no owner")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            # Nobody needs a dump of it.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            ctypes.string_at(0)
        case "hang":
            while True:
                time.sleep(60)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(3)
        case "memory":
            with _little_memory():
                bytearray(2**30)
        case _:
            return


@contextmanager
def _little_memory() -> Iterator[None]:
    """As where an operator has set a limit for the worker's processes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
