"""Looks after workers and servers while somebody watches the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from breakbulk.console.views import View
from breakbulk.demo.crew import Crew
from breakbulk.demo.following import Followers
from breakbulk.demo.interrupts import Interrupts
from breakbulk.demo.screen import Screen
from breakbulk.demo.servers import Servers
from breakbulk.domain.progress import Progress


def look_after(
    crew: Crew | Followers, servers: Servers, screen: Screen, interrupts: Interrupts
) -> None:
    """Replace workers that have ended, and say so.

    Raises:
        EmbeddedError: a server has gone.
        ConfigurationError: the workers do not start.
    """
    servers.check()
    with interrupts.deferred():
        for change in crew.mind():
            lost, successor = change.lost.process.pid, change.successor.process.pid
            screen.say(
                "worker_replaced",
                f"Worker {change.lost.number} (process {lost}) {change.cause};"
                f" process {successor} takes its place.",
                worker=change.lost.number,
                lost=lost,
                status=change.status,
                successor=successor,
            )


class Watched:
    """A view that looks after things whenever it is shown something.

    Args:
        view: what does the showing.
        look: looks after things.

    Attributes:
        first_at: when progress was shown first, by the monotonic clock.
    """

    def __init__(self, view: View, look: Callable[[], None]) -> None:
        self._view = view
        self._look = look
        self.first_at: float | None = None

    def show(self, progress: Progress) -> None:
        """Show one look at the run."""
        self._view.show(progress)
        self.first_at = self.first_at or time.monotonic()
        self._look()

    def trouble(self, sentence: str) -> None:
        """The database does not answer; it may be gone for good."""
        self._look()
        self._view.trouble(sentence)

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._view.__exit__(kind, error, traceback)
