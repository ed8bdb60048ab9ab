"""No fork while SQLite is open in another thread.

SQLite notes in the memory of its process which locks the connections there hold, and asks the
system for one only when none of them has it. A forked child inherits the notes and not the locks.
Forked while its parent's steward wrote, it found the writer's place taken, for ever (reproduced);
forked while the file was merely open, it took no lock of its own, so others could throw away the
journal that it wrote to. https://sqlite.org/howtocorrupt.html (2.6) forbids both.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Held by the thread that has SQLite open, and by whoever forks while he does.
_gate = threading.Lock()
_thread = threading.local()


@contextmanager
def held_off() -> Iterator[None]:
    """No fork meanwhile, except where :func:`let` allows it."""
    with _gate:
        _thread.holds_off = True
        try:
            yield
        finally:
            _thread.holds_off = False


def holds_off() -> bool:
    """Whether it is this thread that nobody forks because of."""
    return getattr(_thread, "holds_off", False)


@contextmanager
def let() -> Iterator[None]:
    """Called by who holds forks off: meanwhile there may be some."""
    _gate.release()
    try:
        yield
    finally:
        _gate.acquire()


def before_each(prepare: Callable[[], None]) -> None:
    """Have something done before every fork, when nobody has anything open."""

    def before() -> None:
        _gate.acquire()
        prepare()

    os.register_at_fork(before=before, after_in_parent=_gate.release, after_in_child=_gate.release)
