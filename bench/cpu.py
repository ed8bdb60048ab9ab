"""CPU seconds of a process with everything below it, living or dead."""

from __future__ import annotations

from contextlib import suppress

import psutil
from sqlalchemy import NullPool, create_engine, text


def cpu_seconds(root: psutil.Process) -> float:
    """Return the CPU time, user and system, that a process and its descendants have used so far.

    A process carries the time of its dead children once it has waited for them, and they that
    of theirs; so living processes with their dead children are all there is. For PostgreSQL the
    root is the postmaster: backends, checkpointer, WAL writer and autovacuum are its children.
    """
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def postmaster(url: str) -> psutil.Process:
    """Return the process of which all of a server's processes are children.

    Raises:
        RuntimeError: the server is on another machine, whose processes cannot be seen.
    """
    with create_engine(url, poolclass=NullPool).connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid).parent()
            if parent is not None and "postgres" in parent.name():
                return parent
    raise RuntimeError("PostgreSQL is not on this machine, so its CPU time cannot be read.")


class Meter:
    """Counts the CPU seconds of a worker and of PostgreSQL from now on."""

    def __init__(self, worker: psutil.Process, server: psutil.Process) -> None:
        self._worker, self._server = worker, server
        self._start = cpu_seconds(worker), cpu_seconds(server)

    def read(self) -> tuple[float, float]:
        """Return the seconds of the worker and of PostgreSQL since the meter was made."""
        return (
            cpu_seconds(self._worker) - self._start[0],
            cpu_seconds(self._server) - self._start[1],
        )
