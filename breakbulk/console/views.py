"""How progress is shown: a live bar, plain lines, lines of JSON, or not at all."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

from breakbulk.console import output, words
from breakbulk.console.bar import Bar
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run

#: Plain lines are for logs: often enough to see that it moves, seldom enough to be read.
LINE_SECONDS = 2.0
#: Programs that follow a run get an event at least this far apart, and at each change of status.
EVENT_SECONDS = 0.5


class View(AbstractContextManager["View"], Protocol):
    """Somewhere to show progress, as often as there is news."""

    def show(self, progress: Progress) -> None:
        """Show one look at the run."""

    def trouble(self, sentence: str) -> None:
        """Show that nothing can be seen for the moment, and why."""


class _Sparing(ABC):
    """Lets one look through every so often, and each change of status at once."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._at = float("-inf")
        self._last: tuple[Any, ...] = ()
        self._trouble = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Show one look at the run."""
        now = self._clock()
        throttled = progress.throttled and (progress.throttled.by, progress.throttled.lanes)
        state = (progress.status, progress.reason, throttled)
        self._trouble = ""
        if state == self._last and now - self._at < self._seconds:
            return
        self._at, self._last = now, state
        self._write(progress)

    def trouble(self, sentence: str) -> None:
        """Show trouble once until it is over."""
        if sentence != self._trouble:
            self._trouble = sentence
            output.warn(f"{sentence} Trying again.")

    @abstractmethod
    def _write(self, progress: Progress) -> None:
        """Show a look that was let through."""


class Lines(_Sparing):
    """Plain lines on stderr."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(LINE_SECONDS, clock)
        self._name = f"run {run.id}"

    def _write(self, progress: Progress) -> None:
        output.warn(f"{self._name} {words.line(progress)}")


class Events(_Sparing):
    """Lines of JSON on stdout."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(EVENT_SECONDS, clock)
        self._run_id = run.id

    def _write(self, progress: Progress) -> None:
        output.event({"event": "progress", "run": self._run_id, **progress.as_dict()})


class Nothing(_Sparing):
    """For those who only want the end."""

    def __init__(self) -> None:
        super().__init__(float("inf"))

    def _write(self, progress: Progress) -> None:
        pass


def view_of(run: Run, *, as_json: bool = False) -> View:
    """The view that suits whoever is at the other end."""
    if as_json:
        return Events(run)
    if output.is_terminal(sys.stderr):
        return Bar(run)
    return Lines(run)
