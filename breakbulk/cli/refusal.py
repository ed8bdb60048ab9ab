"""An error as the command line tells it."""

from __future__ import annotations

import click

from breakbulk.console.printable import printable


class Refusal(click.ClickException):
    """One sentence on stderr, and an exit code. Without Click's usage: the sentence says it all."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(printable(sentence))
        self.exit_code = exit_code  # type: ignore[misc]  # Click reads it off the instance
