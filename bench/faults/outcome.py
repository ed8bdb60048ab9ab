"""What came of a trial, and how it is said in a table."""

from __future__ import annotations

from dataclasses import dataclass

_COUNTS = {2: "twice", 3: "three times"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one trial.

    Attributes:
        callbacks: how often the callback was committed.
        missed: rows that were not processed.
        twice: rows that were processed more than once.
        seconds: from the stroke until the first callback was committed; None for never.
        early: rows that were still missing when it was.
        alarms: how often the system called back to say that the job failed.
        done_before: rows that were done when it struck.
        restarts: how often the supervisor started a worker anew.
        whole: the whole time was waited.
        note: what else there is to say.
    """

    system: str
    fault: str
    callbacks: int
    missed: int
    twice: int
    seconds: float | None
    early: int
    alarms: int
    done_before: int
    restarts: int
    whole: bool
    note: str = ""

    def right(self, lost_rows: int) -> bool:
        """Whether it is as it should be: called back once, every row once, no false alarm.

        Args:
            lost_rows: how many rows nobody could have processed.
        """
        once = (self.callbacks, self.alarms, self.twice) == (1, 0, 0)
        return once and self.missed == self.early == lost_rows

    def words(self, lost_rows: int) -> str:
        """Say it in a cell of a table; what is wrong stands out."""
        if self.right(lost_rows):
            return f"right, {self.seconds:.1f} s"
        parts = [self._callback(), *(["told of failure"] if self.alarms else [])]
        if self.early > self.missed:
            parts.append(f"**too early**, with {self.early:,} rows missing")
        if self.missed:
            parts.append(f"{_rows(self.missed)} missed")
        if self.twice:
            parts.append(f"{_rows(self.twice)} **twice**")
        if self.seconds is not None:
            parts.append(f"{self.seconds:.1f} s")
        return ", ".join(parts)

    def _callback(self) -> str:
        if self.callbacks == 0:
            return "**no callback**"
        if self.callbacks == 1:
            return "called back"
        return f"called back **{_COUNTS.get(self.callbacks, f'{self.callbacks} times')}**"


def _rows(number: int) -> str:
    return f"{number:,} row" + ("" if number == 1 else "s")
