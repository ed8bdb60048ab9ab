"""A cap on rows a second, shared by all lanes: when the next rows may be begun.

The generic cell rate algorithm: all that is kept is up to when the cap is used up. Whoever takes
rows moves that on by what they are worth; time that nobody has used is credit for a second at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Seconds of the cap that one lane takes at a time, so that the pace is even.
SHARE = 0.25
#: Seconds that a lane waits in its slot for its turn; longer, and it leaves the slot to others.
PATIENCE = 1.0
#: Seconds of the cap that may be made up for, when lanes came late.
_CREDIT = 1.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """A cap as it stands at one moment.

    Attributes:
        cap: rows a second.
        now: by the database's clock.
        used_until: the cap is used up to then; None: nothing was taken yet.
    """

    cap: float
    now: datetime
    used_until: datetime | None

    @property
    def wait(self) -> float:
        """Seconds until rows may be begun."""
        if self.used_until is None:
            return 0.0
        return max(0.0, (self.used_until - self.now).total_seconds())

    @property
    def due(self) -> bool:
        """Whether it is worth waiting for in a slot."""
        return self.wait <= PATIENCE

    def chunks(self, wanted: int, size: int) -> int:
        """How many chunks of a size one lane may take, at least one."""
        return max(1, min(wanted, int(self.cap * SHARE / size)))

    def after(self, rows: int) -> datetime:
        """Up to when the cap is used once rows are taken."""
        earliest = self.now - timedelta(seconds=_CREDIT)
        begin = self.now if self.used_until is None else max(self.used_until, earliest)
        return begin + timedelta(seconds=rows / self.cap)
