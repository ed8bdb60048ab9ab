"""The one place in the tests that waits: always for a condition, never for a time."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Names the most seconds that any wait may take, where most will be in vain.
PATIENCE = "BREAKBULK_PATIENCE"
#: So many seconds longer than by its nature may take on a busy machine what does not take for ever.
SLACK = 30.0
_POLL_SECONDS = 0.02


def wait_for(
    condition: Callable[[], T], *, timeout: float = 120.0, message: str = "the condition"
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    Args:
        condition: cheap, and may be called any number of times.
        timeout: seconds to wait at most; generous, because a shared machine can stall.
        message: what was waited for, as it reads in "waited 120 s in vain for …".

    Raises:
        AssertionError: the time is over.
    """
    timeout = min(timeout, float(os.environ.get(PATIENCE, timeout)))
    end = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout:g} s in vain for {message} (last: {result!r})")
        pause.wait(_POLL_SECONDS)
