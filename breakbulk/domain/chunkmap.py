"""A run at a glance: its key range as a bounded number of cells, each with what is in it.

The ledger is asked only for the chunks that are *not* done. Everything else below the frontier is
done, and everything beyond is still ahead, so a map of a million chunks costs no more than what
failed and what is in hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from breakbulk.domain.status import ChunkStatus

#: However many chunks a run has.
MOST_CELLS = 2000

#: What a cell is called by what is worst in it. Split chunks count through their parts.
_WORST_FIRST = (
    ChunkStatus.FAILED,
    ChunkStatus.SKIPPED,
    ChunkStatus.CANCELLED,
    ChunkStatus.WAITING,
    ChunkStatus.CARVED,
)
DONE = "done"
SPLIT = "split"
AHEAD = "ahead"
_ORDER = (*map(str, _WORST_FIRST), SPLIT)
#: All that a cell may be called.
STATES = (*_ORDER, DONE, AHEAD)


@dataclass(frozen=True, slots=True)
class Cell:
    """Neighbouring chunks in one cell.

    Attributes:
        first: number of its first chunk.
        last: number of its last chunk.
        state: what is worst in it: a chunk's status, or ``done``, ``split`` (done after having
            been split) or ``ahead`` (not carved yet).
        states: all statuses in it that are not succeeded, the worst first; parts of a split chunk
            count on their own.
        ahead: how many of them are not carved yet; only estimated while the run is carved.
    """

    first: int
    last: int
    state: str
    states: tuple[str, ...] = ()
    ahead: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "first": self.first,
            "last": self.last,
            "state": self.state,
            "states": list(self.states),
            "ahead": self.ahead,
        }


@dataclass(frozen=True, slots=True)
class ChunkMap:
    """All cells of a run, in the order of keys.

    Attributes:
        carved: chunks that were carved so far.
        total: chunks in all; an estimate unless ``exact``.
    """

    cells: tuple[Cell, ...]
    carved: int
    total: int
    exact: bool

    def cells_by_state(self) -> dict[str, int]:
        """How many cells there are of each state, the worst first."""
        counts = Counter(cell.state for cell in self.cells)
        return {state: counts[state] for state in STATES if counts[state]}


def lay_out(
    carved: int, total: int, *, exact: bool, cells: int, found: Iterable[tuple[int, str]]
) -> ChunkMap:
    """Make a map.

    Args:
        carved: chunks that were carved so far.
        total: chunks in all, at least ``carved``.
        exact: whether ``total`` is a count.
        cells: how many cells there are to be, as :func:`cells_for` says.
        found: place of a cell, and a status in it that is not ``succeeded``.
    """
    states: dict[int, set[str]] = {}
    for place, status in found:
        states.setdefault(place, set()).add(status)
    made = []
    for place in range(cells):
        first, last = _edge(place, cells, total) + 1, _edge(place + 1, cells, total)
        inside = tuple(one for one in _ORDER if one in states.get(place, ()))
        ahead = max(last - max(first - 1, carved), 0)
        made.append(Cell(first, last, _state(inside, last - first + 1, ahead), inside, ahead))
    return ChunkMap(tuple(made), carved, total, exact)


def cells_for(total: int, most: int = MOST_CELLS) -> int:
    """How many cells a run of so many chunks gets."""
    return min(total, most)


def _edge(place: int, cells: int, total: int) -> int:
    # The first number in a cell, less one: the inverse of (number - 1) * cells // total.
    return -(-place * total // cells)


def _state(inside: tuple[str, ...], chunks: int, ahead: int) -> str:
    if ahead == chunks:
        return AHEAD
    worst = inside[0] if inside else DONE
    return AHEAD if ahead and worst in {SPLIT, DONE} else worst
