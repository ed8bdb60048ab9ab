"""Until when each lane of a worker may be at its chunk, in memory that its processes share.

The main process must know how long a child has been at a chunk, and asking the ledger would cost a
statement for each. So the memory is shared before the fork: a child writes its lane and a deadline
when it begins a chunk and clears it when it is done, and the steward reads. Deadlines are on the
monotonic clock, which all processes of a Linux machine share (clock_gettime(2)).
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Callable
from uuid import UUID

_SLOT = struct.Struct("d16s")
_DEADLINE = struct.Struct("d")
_NONE = 0.0


class Deadlines:
    """A table of deadlines, one slot for each lane at work.

    Args:
        slots: how many lanes can be watched at once; others are not.
        place: the slot of this process, where each process has only one lane; None where lanes are
            threads of one process.
    """

    def __init__(self, slots: int = 1024, place: Callable[[], int | None] = lambda: None) -> None:
        self._slots = slots
        self._place = place
        self._memory = mmap.mmap(-1, slots * _SLOT.size)
        self._free = list(range(slots))
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """A slot for a lane, to be given back; None when there is none."""
        place = self._place()
        if place is not None:
            return place if place < self._slots else None
        with self._lock:
            return self._free.pop(0) if self._free else None

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
        if slot is None or seconds is None:
            return
        # In this order, so that nobody ever reads a deadline beside another lane's name.
        self.end(slot)
        _SLOT.pack_into(self._memory, slot * _SLOT.size, _NONE, lane.bytes)
        _DEADLINE.pack_into(self._memory, slot * _SLOT.size, time.monotonic() + seconds)

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
        now = time.monotonic()
        late = set()
        for slot in range(self._slots):
            deadline, lane = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
            # Read again: the lane may have gone on to its next chunk in between.
            if _NONE < deadline < now and self._deadline(slot) == deadline:
                late.add(UUID(bytes=lane))
        return late

    def _deadline(self, slot: int) -> float:
        (deadline,) = _DEADLINE.unpack_from(self._memory, slot * _SLOT.size)
        return float(deadline)
