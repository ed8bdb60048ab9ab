"""Turn after turn, until somebody says stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from breakbulk.autoscale.controller import Controller, Turn
from breakbulk.errors import LedgerUnreachable, ProviderRefused


def loop(
    controller: Controller,
    stop: threading.Event,
    interval: float,
    tell: Callable[[Turn], None],
    trouble: Callable[[str], None],
) -> None:
    """Take turns; what is in the way now and then is told, and tried again.

    Args:
        tell: what each turn has come to.
        trouble: what was in the way, in one sentence.
    """
    while not stop.is_set():
        try:
            tell(controller.turn())
        except (LedgerUnreachable, ProviderRefused) as error:
            trouble(str(error))
        stop.wait(interval)
