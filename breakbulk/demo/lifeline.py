"""Ends a worker whose demo is gone, however that one ended.

A worker imports this module beside its application (``celery worker --include``). It holds one
end of a pipe, the demo holds the other and never writes: when reading ends, the demo is gone,
killed with SIGKILL or not. Unlike ``PR_SET_PDEATHSIG`` this works on every POSIX system and
reaches the children of the pool as well.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from celery.signals import worker_process_init

VARIABLE = "BREAKBULK_DEMO_LIFELINE"
"""The environment variable that holds the pipe's file descriptor."""

_PATIENCE_SECONDS = 5.0
"""How long a worker may take to end in good order."""


def _hold(descriptor: int, *, leads: bool) -> None:
    while os.read(descriptor, 1):
        pass
    if leads:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _start(*, leads: bool) -> None:
    descriptor = os.environ.get(VARIABLE)
    if descriptor is not None:
        name = "breakbulk-demo-lifeline"
        threading.Thread(
            target=_hold, args=(int(descriptor),), kwargs={"leads": leads}, name=name, daemon=True
        ).start()


@worker_process_init.connect(weak=False)
def _start_in_child(**_: Any) -> None:
    # Threads do not survive a fork. The main process tells its children to end; only when it
    # cannot, because it was killed itself, a child has to do it alone.
    _start(leads=False)


_start(leads=True)
