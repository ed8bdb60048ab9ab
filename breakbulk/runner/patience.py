"""How long, and how often, a lane tries again at once what is nobody's fault.

A chunk's trouble may outlast a lane's stay: what one lane has spent on it, the next is told. Else
a chunk that is in a deadlock whenever it is tried would be tried for ever.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field

from breakbulk.domain.chunk import ChunkRef, Claim

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0
_LAST_DOUBLING = 10
#: What the ledger's column can hold.
_MOST = 32_000


class Backoff:
    """Longer and longer waits, drawn by chance: those who met in a deadlock should not again."""

    def __init__(self) -> None:
        self._tries = 0

    def wait(self) -> None:
        """Sleep before the next try."""
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._tries, _LAST_DOUBLING))
        self._tries += 1
        time.sleep(random.uniform(longest / 2, longest))  # noqa: S311  (no secret)

    def reset(self) -> None:
        """It has gone well again."""
        self._tries = 0


@dataclass(slots=True)
class _Trouble:
    since: float
    backoff: Backoff = field(default_factory=Backoff)


class Patience:
    """What a lane knows of the troubles of its chunks.

    Args:
        seconds: how long a chunk is tried at once before that counts as a failure.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._troubles: dict[ChunkRef, _Trouble] = {}

    def lasts(self, claim: Claim) -> bool:
        """Whether a chunk that is in trouble, now or still, is to be tried again at once."""
        now = time.monotonic()
        trouble = self._troubles.setdefault(claim.ref, _Trouble(now - claim.troubled))
        return now - trouble.since < self._seconds

    def wait(self, claim: Claim) -> None:
        """Sleep before the next try."""
        self._troubles[claim.ref].backoff.wait()

    def over(self, ref: ChunkRef) -> None:
        """A chunk's trouble has ended, one way or the other."""
        self._troubles.pop(ref, None)

    def spent(self, claim: Claim) -> int:
        """Whole seconds for which a chunk has been in trouble, in all."""
        trouble = self._troubles.get(claim.ref)
        if trouble is None:
            return claim.troubled
        return min(math.ceil(time.monotonic() - trouble.since), _MOST)
