"""Time limits of one call by timer signal, where a process does one thing at a time.

A lane calls many parts, so Celery's own limits, which are the lane's, cannot be theirs.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from breakbulk.errors import UnsupportedPool

#: Seconds after which a hard limit that was swallowed is raised again.
_TOLD_AGAIN = 1.0


class Limits:
    """What has become of a call's limits.

    Attributes:
        fired: the limit that the call has exceeded, in seconds; None if none.
        ended: it was the hard one: whatever the call makes of that, it has failed.
    """

    def __init__(self) -> None:
        self.fired: float | None = None
        self.ended: TimeLimitExceeded | None = None
        self.armed = False


@contextmanager
def limited(soft: float | None, hard: float | None, name: str) -> Iterator[Limits]:
    """Raise ``SoftTimeLimitExceeded`` and ``TimeLimitExceeded`` inside when it takes too long.

    The hard one is raised again every second while the call goes on, for it must not be swallowed.
    The timer and its handler are afterwards what they were before. A call that does not come back
    from C, or takes the timer for itself, is left to the run's ``chunk_timeout``, which ends the
    process.

    Args:
        soft: seconds; None or 0 for no limit.
        hard: likewise.
        name: the task's, for the message.

    Raises:
        UnsupportedPool: signals do not reach this thread.
    """
    limits = Limits()
    if not soft and not hard:
        yield limits
        return
    if threading.current_thread() is not threading.main_thread():
        raise UnsupportedPool(
            f"{name} has a time limit, which cannot be kept in a pool of threads: work on its"
            " queue with -P prefork or solo and resume the run, or take the limit away."
        )
    began = time.monotonic()
    first = min(soft or math.inf, hard or math.inf)

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        if not limits.armed:
            return
        # The first alarm is the soft limit's, unless there is none before the hard one.
        if limits.fired is None and soft and soft == first:
            limits.fired = soft
            if hard and hard > soft:
                signal.setitimer(signal.ITIMER_REAL, max(1e-3, began + hard - time.monotonic()))
            raise SoftTimeLimitExceeded(soft)
        limits.fired, limits.ended = hard, TimeLimitExceeded(hard)
        # Code that goes on whatever is raised is told again, until it ends.
        signal.setitimer(signal.ITIMER_REAL, _TOLD_AGAIN)
        raise TimeLimitExceeded(hard)

    before = signal.signal(signal.SIGALRM, on_alarm)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    try:
        try:
            limits.armed = True
            signal.setitimer(signal.ITIMER_REAL, first)
            yield limits
        finally:
            # An alarm may come on the way to here; the next one is a second away.
            limits.armed = False
    finally:
        _disarm(limits)
        signal.signal(signal.SIGALRM, before)
        if left:
            spent = time.monotonic() - began
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - spent), interval)


def _disarm(limits: Limits) -> None:
    """Make sure that no alarm comes any more, even if one comes right now."""
    while True:
        try:
            limits.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        except (SoftTimeLimitExceeded, TimeLimitExceeded):
            continue
        return
