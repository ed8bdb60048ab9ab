"""Whether a message that comes late was overtaken.

Each lane ends by sending its successor, so there are as many messages about as slots. What a
steward sends besides, because it saw a gap between two of them, must not stay in circulation, or
there would be one more every few seconds, and the team's own tasks would wait behind them all. So
what comes late is used only if no lane of the worker has ended since it was sent.
"""

from __future__ import annotations

import math
import mmap
import struct
import time

_TIME = struct.Struct("d")
_NEVER = 0.0
#: For so many seconds a message is good; what comes later is late.
MESSAGE_LIFE = 1.0


class Circulation:
    """When a lane of this worker has last ended, in memory that its processes share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _TIME.size)

    def lane_ended(self) -> None:
        """A lane has just ended."""
        _TIME.pack_into(self._memory, 0, time.monotonic())

    def has_overtaken(self, late: float) -> bool:
        """Whether a message that is so many seconds late is not needed any more."""
        if late <= 0:
            return False
        (ended,) = _TIME.unpack_from(self._memory, 0)
        ago = math.inf if ended == _NEVER else time.monotonic() - float(ended)
        return ago < late + MESSAGE_LIFE

    def reset(self) -> None:
        """Forget it, before a worker begins."""
        _TIME.pack_into(self._memory, 0, _NEVER)
