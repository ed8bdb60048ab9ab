"""How many chunks a lane takes at a time: about one second's work, once it knows its pace."""

from __future__ import annotations

_WEIGHT = 0.3


class Pace:
    """A moving mean of the seconds that a chunk takes.

    Args:
        most: chunks at a time at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: float | None = None

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
        return max(1, min(self._most, int(seconds / max(self._seconds, 1e-6))))


def share_of_last(found: int) -> int:
    """How many of the last chunks of a run one lane takes: half, so that all end together."""
    return (found + 1) // 2
