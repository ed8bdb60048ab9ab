"""The chunk map's cells as HTML.

There are up to a thousand of them on a page that is drawn anew every other second, so they are put
together here and not by a template. Nothing in them comes from rows or people: numbers, and the
names of states.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from breakbulk.console import words
from breakbulk.domain.chunkmap import Cell


def linked(cells: Iterable[Cell], chunks: str) -> Markup:
    """Cells that lead to their chunks.

    Args:
        chunks: the address of the run's chunks.
    """
    to = escape(chunks)
    return Markup(  # noqa: S704  (see above)
        "".join(
            f'<a class="c-{cell.state}" tabindex="-1" href="{to}?from={cell.first}"'
            f' title="{_title(cell)}"></a>'
            for cell in cells
        )
    )


def plain(cells: Iterable[Cell]) -> Markup:
    """Cells that only show."""
    return Markup(  # noqa: S704  (see above)
        "".join(f'<i class="c-{cell.state}" title="{_title(cell)}"></i>' for cell in cells)
    )


def _title(cell: Cell) -> str:
    last = f" to {words.number(cell.last)}" if cell.last > cell.first else ""
    return f"{words.number(cell.first)}{last}: {', '.join(cell.states) or cell.state}"
