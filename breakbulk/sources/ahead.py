"""What one look saw beyond the chunks that it was asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from breakbulk.domain.chunk import Scout

if TYPE_CHECKING:
    from breakbulk.domain.keys import Key
    from breakbulk.sources.horizon import Mark

KEPT_SECONDS = 30.0
"""After this long rows may have come and gone, and the chunks would not be of equal size."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The ground from a key on, as long as nobody asks for chunks of another size.

    It is good for speed only: chunks are ranges of keys, and what was counted in them is a
    number, whoever comes or goes.

    Attributes:
        start: the frontier that rows are counted from.
        until: the run's last key.
        size: rows to a chunk.
        ends: where chunks are full.
        ended: all is known up to the run's last key.
        rows: matching rows up to there, or else up to ``edge``.
        edge: the last key up to which all is known.
        window: how many base keys the next look may take.
        seen_at: by the process's own clock, in seconds.
    """

    start: Key | None
    until: Key
    size: int
    ends: tuple[Mark, ...]
    ended: bool
    rows: int
    edge: Key | None = None
    window: int = 0
    seen_at: float = field(default_factory=time.monotonic)

    def beyond(self, frontier: Key | None, until: Key, size: int) -> Ahead | None:
        """Return what is still ahead of a later frontier; None when that is not known."""
        if (until, size) != (self.until, self.size):
            return None
        if time.monotonic() - self.seen_at > KEPT_SECONDS:
            return None
        if frontier == self.start:
            return self
        for number, mark in enumerate(self.ends):
            if mark.key == frontier:
                later = tuple(
                    replace(end, rows=end.rows - mark.rows) for end in self.ends[number + 1 :]
                )
                return replace(self, start=frontier, ends=later, rows=self.rows - mark.rows)
        return None

    @property
    def scout(self) -> Scout | None:
        """Where to go on, when no chunk is full."""
        return None if self.edge is None else Scout(self.edge, self.rows, self.window)
