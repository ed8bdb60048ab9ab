"""A header that is read while the run is already at work on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from breakbulk.errors import CanvasError


class Once:
    """Parts that are read lazily: once, whatever canvases are made of them."""

    def __init__(self, parts: Iterator[Any]) -> None:
        self._parts = parts
        self._was_read = False

    def __iter__(self) -> Iterator[Any]:
        if self._was_read:
            raise CanvasError(
                "The header was read when the canvas was applied, and a generator can be read only"
                " once: give a list, or build the canvas again."
            )
        self._was_read = True
        return self._parts
