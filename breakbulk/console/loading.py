"""How far an iterable has been read, for whoever waits until it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from breakbulk.console import output, words
from breakbulk.console.views import LINE_SECONDS

if TYPE_CHECKING:
    from rich.live import Live


class Loading(AbstractContextManager["Loading"]):
    """Told of each batch, it shows the count: live on a terminal, else now and then as a line.

    It draws on stderr, and nothing before there is something to count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._live: Live | None = None
        # A source that is read in a moment needs no line.
        self._at = clock()
        self._text = ""

    def __call__(self, run_id: int, items: int) -> None:
        """So many are there."""
        self._text = f"Run {run_id} is loading, {words.number(items)} items"
        if output.is_terminal(sys.stderr):
            self._draw()
        elif self._clock() - self._at >= LINE_SECONDS:
            self._at = self._clock()
            output.warn(f"{self._text}.")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the line away: what is printed next says it all."""
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> Self:
        return self

    def _draw(self) -> None:
        # Rich takes its time to load, and is needed only here.
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(
                console=Console(stderr=True),
                get_renderable=lambda: Text(self._text),
                refresh_per_second=5,
                transient=True,
            )
            self._live.start()
