"""Whether a worker is alive, and who leads: by leases, or by file locks on SQLite.

On PostgreSQL a worker promises to be heard from. On SQLite it could not keep the promise: four
lanes with chunks of a second left no room for a single write in twenty (reproduced). There every
worker is on one machine, so each holds a lock of the operating system, which ends with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from breakbulk.ledger.workers import Worker
from breakbulk.runner.runtime import Runtime

_MOST_DOUBLINGS = 6
_FOR_EVER = 10 * 365 * 86_400.0


class Liveness(Protocol):
    """How a worker shows that it lives, and learns that others do not."""

    def renew(self, connection: Connection, worker: Worker) -> bool:
        """Show that this worker lives; False when it was not on the list before."""

    def lead(self, connection: Connection, worker: Worker) -> bool:
        """Become or stay the leader."""

    def resign(self, connection: Connection, worker: Worker) -> None:
        """Let somebody else lead at once: this worker shuts down, and may take its time."""

    def dead(self, connection: Connection, worker: Worker) -> list[Worker]:
        """Workers that are dead for certain."""

    def leave(self, connection: Connection, worker: Worker) -> None:
        """Stop, in good order."""


class Leases:
    """Lease rows, by the database's clock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seconds = runtime.settings.lease_seconds

    def renew(self, connection: Connection, worker: Worker) -> bool:
        """Extend the lease."""
        workers = self._runtime.ledger.workers
        with self._runtime.database.transaction(connection):
            registered = workers.registered(connection, worker.id)
            workers.renew(connection, worker, self._seconds)
        return registered

    def lead(self, connection: Connection, worker: Worker) -> bool:
        """Take or extend the leader's lease."""
        with self._runtime.database.transaction(connection):
            return self._runtime.ledger.workers.lead(connection, worker.id, self._seconds)

    def resign(self, connection: Connection, worker: Worker) -> None:
        """Give the leader's lease up."""
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.workers.resign(connection, worker.id)

    def dead(self, connection: Connection, worker: Worker) -> list[Worker]:
        """Workers whose lease has run out, if this one has been heard from all the while."""
        workers = self._runtime.ledger.workers
        with self._runtime.database.reading(connection):
            return [
                one
                for one in workers.expired(connection, worker.id, self._seconds)
                if not self._given_time(connection, one)
            ]

    def _given_time(self, connection: Connection, silent: Worker) -> bool:
        """Whether a worker may be silent for longer, because of the chunk that it is at.

        A chunk in C code that holds the interpreter's lock silences its worker for as long as it
        takes. Each loss of the same chunk doubles the lease of whoever has it now.
        """
        ledger = self._runtime.ledger
        losses = ledger.workers.losses_in_hand(connection, silent.id)
        if not losses or silent.lease_until is None:
            return False
        more = self._seconds * (2 ** min(losses, _MOST_DOUBLINGS) - 1)
        return ledger.lanes.now(connection) < silent.lease_until + timedelta(seconds=more)

    def leave(self, connection: Connection, worker: Worker) -> None:
        """Take the row away, and let somebody else lead at once."""
        workers = self._runtime.ledger.workers
        with self._runtime.database.transaction(connection):
            workers.resign(connection, worker.id)
            workers.remove(connection, worker.id)


# What this process holds: a process never waits for its own locks, so it cannot ask for them,
# and closing any file that it has locked lets go of the lock.
_held_here: set[Path] = set()
os.register_at_fork(after_in_child=_held_here.clear)


class FileLocks:
    """Locks beside the database file. POSIX record locks: a forked child does not inherit them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        database = runtime.database.engine.url.database or "breakbulk"
        self._home = Path(f"{Path(database).resolve()}-workers")
        self._held: dict[Path, int] = {}
        self._told: Worker | None = None

    def renew(self, connection: Connection, worker: Worker) -> bool:
        """Hold the lock; write only what has changed."""
        self._hold(self._file(worker))
        registered = self._told is not None
        if self._told != worker:
            with self._runtime.database.transaction(connection):
                self._runtime.ledger.workers.renew(connection, worker, _FOR_EVER)
            self._told = replace(worker)
        return registered

    def lead(self, connection: Connection, worker: Worker) -> bool:  # noqa: ARG002
        """Whoever gets the leader's lock leads until it dies."""
        return self._hold(self._leader)

    def resign(self, connection: Connection, worker: Worker) -> None:  # noqa: ARG002
        """Let go of the leader's lock."""
        self._let_go(self._leader)

    def dead(self, connection: Connection, worker: Worker) -> list[Worker]:
        """Registered workers whose lock is free."""
        with self._runtime.database.reading(connection):
            others = self._runtime.ledger.workers.all(connection)
        return [one for one in others if one.id != worker.id and self._free(self._file(one))]

    def leave(self, connection: Connection, worker: Worker) -> None:
        """Take the row away, then the locks."""
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.workers.remove(connection, worker.id)
        for path in list(self._held):
            if path != self._leader:
                # The leader's stays: who holds a file that is no more leads beside another.
                path.unlink(missing_ok=True)
            self._let_go(path)

    @property
    def _leader(self) -> Path:
        return self._home / "leader"

    def _let_go(self, path: Path) -> None:
        descriptor = self._held.pop(path, None)
        if descriptor is not None:
            _held_here.discard(path)
            os.close(descriptor)

    def _file(self, worker: Worker) -> Path:
        return self._home / str(worker.id)

    def _hold(self, path: Path) -> bool:
        if path in self._held:
            return True
        if path in _held_here:
            return False
        self._home.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[path] = descriptor
        _held_here.add(path)
        return True

    def _free(self, path: Path) -> bool:
        if path in _held_here:
            return False
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def liveness(runtime: Runtime) -> Liveness:
    """The way that fits the ledger's database."""
    make: Callable[[Runtime], Liveness] = Leases if runtime.database.is_postgresql else FileLocks
    return make(runtime)
