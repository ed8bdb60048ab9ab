"""Until when each lane of a worker may be at its chunk, in memory that its processes share.

The main process must know how long a child has been at a chunk, and asking the ledger would cost a
statement for each. So the memory is shared before the fork: a child writes its lane and a deadline
when it begins a chunk and clears it when it is done, and the watch reads. It is a file without a
name, so that a process that is not forked, as one that works without a broker, can be given it too.
Deadlines are on the monotonic clock, which all processes of a Linux machine share
(clock_gettime(2)).
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self
from uuid import UUID

# Deadline, beginning, lane; process and when it was started.
_SLOT = struct.Struct("dd16sqd")
_CHUNK = struct.Struct("dd16s")
_DEADLINE = struct.Struct("d")
_NONE = 0.0


class Late(NamedTuple):
    """A lane that should have been done with its chunk by now.

    Attributes:
        pid: its process, 0 if that is not known.
        started: when that was started, as :func:`process_started` has it.
        seconds: how long it has been at the chunk.
        slot: where it stands.
        deadline: on the monotonic clock.
    """

    lane: UUID
    pid: int
    started: float
    seconds: float
    slot: int
    deadline: float


class Deadlines:
    """A table of deadlines, one slot for each lane at work.

    Args:
        slots: how many lanes can be watched at once; others are not.
        place: the slot of this process, where each process has only one lane; None where lanes are
            threads of one process.
        file: descriptor of the memory, where another process has made it.
    """

    def __init__(
        self,
        slots: int = 1024,
        place: Callable[[], int | None] = lambda: None,
        file: int | None = None,
    ) -> None:
        self._slots = slots
        self._place = place
        size = slots * _SLOT.size
        self.file = _memory_file(size) if file is None else file
        """To be passed on to a process that is :meth:`lent` a slot; -1 where that cannot be."""
        self._memory = mmap.mmap(self.file, size)
        self._free = list(range(slots))
        self._lock = threading.Lock()

    def lend(self, number: int) -> str:
        """What to tell process number so-and-so that is not of the pool, to be watched as well."""
        return f"{self.file}:{self._slots}:{self._slots - 1 - number}"

    @classmethod
    def lent(cls, told: str) -> Self:
        """The memory of another process, with a slot in it for this one."""
        file, slots, slot = map(int, told.split(":"))
        return cls(slots, lambda: slot, file)

    @contextmanager
    def at_work(
        self, lane: UUID, seconds: float | None, *, pid: int = 0, started: float = 0.0
    ) -> Iterator[None]:
        """A lane is at something for which it has so many seconds; None: as long as it takes."""
        slot = self.take(pid, started)
        self.begin(slot, lane, seconds)
        try:
            yield
        finally:
            self.give_back(slot)

    def take(self, pid: int = 0, started: float = 0.0) -> int | None:
        """A slot for a lane of a process, to be given back; None when there is none."""
        slot = self._place()
        if slot is None:
            with self._lock:
                slot = self._free.pop(0) if self._free else None
        if slot is None or slot >= self._slots:
            return None
        # Whoever had it before may have died with a deadline in it.
        self.end(slot)
        _SLOT.pack_into(self._memory, slot * _SLOT.size, _NONE, _NONE, bytes(16), pid, started)
        return slot

    def give_back(self, slot: int | None) -> None:
        """Let another lane have the slot."""
        if slot is None:
            return
        self.end(slot)
        if self._place() is None:
            with self._lock:
                self._free.insert(0, slot)

    def begin(self, slot: int | None, lane: UUID, seconds: float | None) -> None:
        """A lane begins a chunk, for which it has so many seconds; None: as long as it takes."""
        if slot is None:
            return
        now = time.monotonic()
        # In this order, so that nobody ever reads a deadline beside another lane's name.
        self.end(slot)
        _CHUNK.pack_into(self._memory, slot * _SLOT.size, _NONE, now, lane.bytes)
        deadline = math.inf if seconds is None else now + seconds
        _DEADLINE.pack_into(self._memory, slot * _SLOT.size, deadline)

    def end(self, slot: int | None) -> None:
        """The chunk is done."""
        if slot is not None:
            _DEADLINE.pack_into(self._memory, slot * _SLOT.size, _NONE)

    def reset(self) -> None:
        """Forget all, before a worker begins."""
        self._memory[:] = bytes(len(self._memory))
        self._free = list(range(self._slots))
        self._lock = threading.Lock()

    def overdue(self) -> set[UUID]:
        """Lanes that should have been done with their chunk by now."""
        return {late.lane for late in self.late()}

    def late(self) -> list[Late]:
        """The same, with their processes."""
        now = time.monotonic()
        late = []
        for slot in range(self._slots):
            deadline, began, lane, pid, started = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
            # Read again: the lane may have gone on to its next chunk in between.
            if _NONE < deadline < now and self._deadline(slot) == deadline:
                one = Late(UUID(bytes=lane), pid, started, now - began, slot, deadline)
                late.append(one)
        return late

    def is_still(self, late: Late) -> bool:
        """Whether a lane is at that chunk even now."""
        return self._deadline(late.slot) == late.deadline

    def seconds_of(self, lane: UUID) -> float | None:
        """How long a lane has been at its chunk, or was when it died; None if it is not known."""
        for slot in range(self._slots):
            deadline, began, name = _CHUNK.unpack_from(self._memory, slot * _SLOT.size)
            if deadline != _NONE and name == lane.bytes:
                return time.monotonic() - float(began)
        return None

    def _deadline(self, slot: int) -> float:
        (deadline,) = _DEADLINE.unpack_from(self._memory, slot * _SLOT.size)
        return float(deadline)


def _memory_file(size: int) -> int:
    create: Callable[[str], int] | None = getattr(os, "memfd_create", None)
    if create is None:
        return -1
    file = create("breakbulk-deadlines")
    os.ftruncate(file, size)
    return file
