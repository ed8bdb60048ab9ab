"""How often to look whether something has ended that nobody tells of.

Whoever waits for something short wants to know at once, and whoever waits for something long does
not mind a moment. So the pauses grow with what has been waited: the delay stays a small part of the
whole, and each waiter costs the same few looks a second in the end, however many there are.
"""

from __future__ import annotations

_SHORTEST = 0.01
#: Of the time that has passed. Half of it is what a look comes late on average.
_PART = 0.02


def pause_after(waited: float, longest: float) -> float:
    """How long to wait until the next look, in seconds.

    Args:
        waited: for how long already.
        longest: the pause never grows beyond it.
    """
    return min(longest, max(_SHORTEST, _PART * waited))
