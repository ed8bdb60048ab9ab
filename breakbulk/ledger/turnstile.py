"""A fair queue for SQLite's one writer.

SQLite lets a single process write at a time and makes the others poll for their turn, with no
order: a lane that commits and begins again at once keeps everybody else out for as long as it
likes, until they give up with "database is locked". So all that Breakbulk writes on SQLite goes
through two file locks. Who wants to write first takes the *next* lock, then waits for the *now*
lock, then lets go of *next*: while somebody waits nobody can overtake him. Before the *next* lock
there is no order, and one who runs is faster than one who has to wake up first: so whoever leaves
and sees others at the door steps aside for a moment before he queues again.

Locks of the operating system, because they end with their process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from breakbulk.errors import ConfigurationError

#: Longer than it takes to wake up, shorter than any commit.
_STEP_ASIDE = 0.001
_open_files: set[int] = set()
#: Held by whoever opens or closes a file and writes that down, and while the process forks.
_book = threading.Lock()


def _close_in_child() -> None:
    # A forked child shares the lock with its parent and would keep it for ever.
    for descriptor in list(_open_files):
        os.close(descriptor)
    _open_files.clear()
    _book.release()


# Other threads open and close meanwhile: a worker replaces a child while its steward writes.
os.register_at_fork(
    before=_book.acquire, after_in_parent=_book.release, after_in_child=_close_in_child
)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    with _book:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _open_files.add(descriptor)
    try:
        yield descriptor
    finally:
        with _book:
            # In a child that was forked meanwhile it is closed already.
            if descriptor in _open_files:
                _open_files.discard(descriptor)
                os.close(descriptor)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


class Turnstile:
    """The queue in front of one database file.

    Args:
        database: path of the file; None for a database in memory, which needs no queue.
    """

    def __init__(self, database: str | None) -> None:
        self._paths: tuple[str, str] | None = None
        self._thread = threading.local()
        if database:
            # Beside the file, as SQLite's own journal is: whoever may write there may queue.
            base = Path(database).resolve()
            home = base.parent if os.access(base.parent, os.W_OK) else Path(tempfile.gettempdir())
            self._paths = (str(home / f"{base.name}-next"), str(home / f"{base.name}-now"))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for our turn and keep it until the block ends."""
        if self._paths is None:
            yield
            return
        next_path, now_path = self._paths
        if getattr(self._thread, "inside", False):
            # It would wait for itself, and everybody else for it.
            raise ConfigurationError(
                "On SQLite process() and finished() cannot write to the ledger through another"
                " connection than the chunk's: pass session=chunk.session or session=run.session."
            )
        if getattr(self._thread, "crowded", False):
            time.sleep(_STEP_ASIDE)
        with _locked_after(next_path, now_path):
            self._thread.inside = True
            try:
                yield
            finally:
                self._thread.inside = False
                self._thread.crowded = _is_locked(next_path)

    def holder(self) -> int | None:
        """The process that has the turn, if there is one."""
        return None if self._paths is None else _holder(self._paths[1])

    def frozen_holder(self) -> int | None:
        """The process that has the turn, if it is stopped, so that nobody else can write."""
        pid = self.holder()
        try:
            stopped = pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return None
        return pid if stopped else None


def _holder(path: str) -> int | None:
    """Who holds the lock of a file, as the system tells it: proc_locks(5)."""
    try:
        inode = Path(path).stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None


def _is_locked(path: str) -> bool:
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


@contextmanager
def _locked_after(next_path: str, now_path: str) -> Iterator[None]:
    waiting = _locked(next_path)
    waiting.__enter__()
    try:
        now = _locked(now_path)
        now.__enter__()
    finally:
        waiting.__exit__(None, None, None)
    try:
        yield
    finally:
        now.__exit__(None, None, None)
