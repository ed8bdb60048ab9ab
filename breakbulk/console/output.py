"""Printing results: JSON for programs, tables for people, plain lines where nobody looks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import click

from breakbulk.console.printable import printable, printable_json, printable_line

_COLOURS = {
    "running": "cyan",
    "succeeded": "green",
    "ok": "green",
    "partial": "yellow",
    "held": "yellow",
    "paused": "yellow",
    "warning": "yellow",
    "failed": "red",
    "error": "red",
    "cancelled": "magenta",
}


def is_terminal(stream: IO[Any]) -> bool:
    """Whether somebody looks at the stream as it is written."""
    return bool(getattr(stream, "isatty", lambda: False)())


def document(value: object) -> None:
    """Print one JSON document."""
    click.echo(printable_json(json.dumps(value, ensure_ascii=False, default=str, indent=2)))


def event(value: object) -> None:
    """Print one line of JSON: an event in a stream of them."""
    line = json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
    click.echo(printable_json(line))


def say(sentence: str) -> None:
    """Print a result."""
    click.echo(printable(sentence))


def warn(sentence: str) -> None:
    """Print what is no result: a warning, a hint, where to go on."""
    click.echo(printable(sentence), err=True)


def fields(values: Mapping[str, str]) -> None:
    """Print names and values under each other; empty values are left out."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        if value:
            click.echo(f"  {name:<{width}}  {printable_line(value)}")


def table(headings: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Print a table: fitted to a terminal, else whole, so that a pipe loses nothing."""
    texts = [["" if cell is None else printable_line(str(cell)) for cell in line] for line in lines]
    if is_terminal(sys.stdout):
        _rich_table(headings, texts)
        return
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    for line in ([heading.upper() for heading in headings], *texts):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _rich_table(headings: Sequence[str], texts: Iterable[Sequence[str]]) -> None:
    # Rich takes its time to load, and Celery loads every plug-in of its command line.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for line in texts:
        shown.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in line))
    Console().print(shown)
