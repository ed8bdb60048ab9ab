"""What the demo shows: sentences and a live bar for people, lines of JSON for programs.

Everything goes to standard output, unlike the progress of other commands: the progress is what
a demo has to show.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from breakbulk.console import output, words
from breakbulk.console.bar import Bar
from breakbulk.console.views import Events, Lines, View
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_BETWEEN = 1.0


class Screen:
    """Says one event after the other.

    Args:
        as_json: for programs.
        stay: somebody looks on, whether or not there is a terminal.
    """

    def __init__(self, *, as_json: bool = False, stay: bool = False) -> None:
        self._as_json = as_json
        self._stay = stay
        self._console: Console | None = None

    @property
    def lasts(self) -> bool:
        """Whether somebody sits there who can end the demo when they have seen enough."""
        return self._stay or (not self._as_json and self._terminal)

    @property
    def until(self) -> str:
        """When what lasts ends."""
        if self._terminal and not self._as_json:
            return "until you press Ctrl-C."
        return f"until you end it: kill {os.getpid()}"

    @property
    def _terminal(self) -> bool:
        return output.is_terminal(sys.stdout) and output.is_terminal(sys.stderr)

    def say(self, event: str, sentence: str, **facts: Any) -> None:
        """Say what happens: the sentence to people, the facts to programs."""
        if self._as_json:
            output.event({"event": event, **facts})
        elif sentence and self._console is not None:
            # Above the bar, which anything printed past it would tear.
            self._console.out(sentence, highlight=False)
        elif sentence:
            output.say(sentence)

    def remark(self, sentence: str) -> None:
        """Say something that is only of use to people."""
        if not self._as_json:
            self.say("remark", sentence)

    def last_words(self, sentence: str) -> None:
        """Say something to people that must not fail, whatever became of their terminal."""
        if not self._as_json:
            with suppress(OSError):
                output.say(sentence)

    def counter(self, event: str, total: int) -> Callable[[int], None]:
        """Return what shows a growing number, once a second at most."""
        shown_at = time.monotonic()

        def show(count: int) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= _SECONDS_BETWEEN:
                shown_at = time.monotonic()
                sentence = f"  {words.number(count)} of {words.number(total)} products"
                self.say(event, sentence, products=count, of=total)

        return show

    def view(self, run: Run) -> View:
        """The view of a run that suits whoever is at the other end."""
        if self._as_json:
            return Events(run)
        if not self._terminal:
            return _Printed(run)
        from rich.console import Console

        self._console = Console()
        return Bar(run, self._console)


class _Printed(Lines):
    def _write(self, progress: Progress) -> None:
        output.say(f"{self._name} {words.line(progress)}")
