"""How many chunks a lane takes at a time: about one second's work, once it knows its pace."""

from __future__ import annotations

import math
import random
import time

_WEIGHT = 0.3
_TELLING = 32


class Pace:
    """A moving mean of the seconds that a chunk takes.

    Args:
        most: chunks at a time at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: float | None = None
        self._getting = 0.0

    def got(self, chunks: int, seconds: float) -> None:
        """Note how long it took to come by so many chunks: of quick ones that is a good part."""
        # A few tell of what each carve takes, and not of what each chunk does.
        if chunks >= _TELLING:
            self._getting = seconds / chunks

    def observe(self, seconds: float) -> None:
        """Note how long a chunk took."""
        if self._seconds is None:
            self._seconds = seconds
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)

    def chunks_in(self, seconds: float) -> int:
        """How many chunks fit; 1 until the pace is known, so that nobody hoards."""
        if self._seconds is None:
            return 1
        return max(1, min(self._most, int(seconds / max(self._seconds + self._getting, 1e-6))))


class Crowd:
    """How a lane carves where many do at the same time: it asks less often, for more, by chance.

    Who waits for the lock behind others that carve finds the frontier moved by each of them, and
    has walked for nothing. So nobody waits in such a line: the line would only make itself longer.

    Attributes:
        lanes: how many are at the run, as far as this lane knows. Where they are many each takes
            more at a time, so that all together carve as often as a few would.
    """

    _MOST = 8.0
    _LONGEST = 1.0
    _FIRST = 0.002
    _FEW = 8

    def __init__(self) -> None:
        self.lanes = 1
        self._share = 1.0
        self._tries = 0

    def seconds(self, alone: float) -> float:
        """How much work to take at a time, instead of so much if the lane carved alone."""
        return alone * max(self._share, min(self._MOST, self.lanes / self._FEW))

    def wait(self) -> None:
        """Others were faster: let them, for a moment of longer and longer ones by chance."""
        # Once is chance, also where there are only two.
        if self._tries:
            self._share = min(self._MOST, self._share * 2)
        longest = min(self._LONGEST, self._FIRST * 2.0 ** min(self._tries, 10))
        self._tries += 1
        time.sleep(random.uniform(0, longest))  # noqa: S311  (no secret)

    def passed(self, lanes: int = 1) -> None:
        """This lane was the fastest, of so many."""
        self.lanes = lanes
        self._tries = 0
        self._share = max(1.0, self._share * 0.9)


def share_of_rest(wanted: int, least: int, chunks_left: float, lanes: int) -> int:
    """How many chunks to take where so many are expected to be left for so many lanes.

    Half of what falls to each, so that nobody still works on much when the others have nothing
    left (guided self-scheduling, Polychronopoulos and Kuck 1987), but no less than is worth the
    asking.

    Args:
        wanted: chunks that the lane would take of any number.
        least: chunks that are worth the asking.
        chunks_left: 0 or less where more came than were expected: then nobody knows.
    """
    if chunks_left <= 0:
        return wanted
    return min(wanted, max(least, math.ceil(chunks_left / (2 * max(lanes, 1)))))


def share_of_last(found: int) -> int:
    """How many of the last chunks of a run one lane takes: half, so that all end together."""
    return (found + 1) // 2
