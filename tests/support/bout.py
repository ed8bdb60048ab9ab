"""How one run came through one fault, as the ledger has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breakbulk import RunHandle
    from tests.support.fault import Fault
    from tests.support.sight import Held, Sight


@dataclass(frozen=True, kw_only=True)
class Bout:
    """How a run came through a fault. Times are seconds from the stroke, by the ledger.

    Attributes:
        before: the ledger right before the stroke; ``after``: right after it.
        healed: the ledger when what does not mend by itself had been put right.
        struck: what was in flight in the lanes that were struck.
        resumed: until the next commit of anybody.
        retaken: until the last struck chunk was begun again (0: it never had to be); None if no
            lane was struck.
        handed_on: until the first chunk was begun that struck lanes held beside; None if there was
            none.
    """

    fault: Fault
    run: RunHandle
    before: Sight
    after: Sight
    healed: Sight
    struck: tuple[Held, ...]
    resumed: float
    retaken: float | None
    handed_on: float | None

    @property
    def recovery(self) -> float:
        """Until the work went on: what was struck, or else anything."""
        return self.resumed if self.retaken is None else self.retaken

    def __str__(self) -> str:
        return (
            f"{self.fault.name}: struck at {self.before} ({self.after.share:.0%} right after);"
            f" recovered after {self.recovery:.2f} s, next commit after {self.resumed:.2f} s"
        )


def measured(
    fault: Fault,
    run: RunHandle,
    sights: tuple[Sight, Sight, Sight],
    pids: set[int],
    ended: dict[tuple[int, str], Any],
) -> Bout:
    """Read off the ledger how a run came through.

    Args:
        sights: before, after, healed.
        pids: of the lanes that were struck.
        ended: rows of the run's chunks, by number and path.
    """
    before, after, healed = sights
    struck = tuple(one for one in after.in_flight if one.pid in pids)
    beside = [one for one in after.held if one.pid in pids and one not in struck]

    def begun(held: Iterable[Held]) -> list[float]:
        rows = [ended[one.number, one.path] for one in held if (one.number, one.path) in ended]
        moments = [row.ended_at - timedelta(seconds=row.seconds) for row in rows]
        return [max(0.0, (moment - before.at).total_seconds()) for moment in moments]

    resumed = min(row.ended_at for row in ended.values() if row.ended_at > after.at)
    return Bout(
        fault=fault,
        run=run,
        before=before,
        after=after,
        healed=healed,
        struck=struck,
        resumed=(resumed - before.at).total_seconds(),
        retaken=max(begun(struck), default=None),
        handed_on=min(begun(beside), default=None),
    )
