"""How many rows a chunk has: a fixed number, or as many as take a given time.

A chunk that sizes itself follows the rule of ``pt-online-schema-change --chunk-time``: rows for
the next one = (decayed rows / decayed seconds of the last ones) x target. It differs in where the
last ones are taken from: not what one thread has seen, but the chunks just below the frontier, as
the ledger has them, whoever worked on them. So it needs no further state, and every lane that
looks comes to the same answer. How far growth may go in one step, and what trouble does, is below.

Everything here is plain arithmetic, so that a simulation can show what it does
(``tests/unit/domain/test_sizing_drift.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self, TypedDict

#: A job that says nothing has so many rows in a chunk.
DEFAULT_ROWS: Final = 500
#: Seconds that a chunk which sizes itself is to take, unless the job says so.
DEFAULT_SECONDS: Final = 0.5
SHORTEST_SECONDS: Final = 0.01
LONGEST_SECONDS: Final = 3600.0

#: The first chunk's rows: few, for nobody knows yet what one costs. Each doubling from here on
#: costs a chunk much shorter than the target, so that all of them together cost less than one.
FIRST_ROWS: Final = 10
#: No chunk has fewer.
LEAST_ROWS: Final = 1
#: The next chunk has at most so many times the rows of the largest of the last ones. Where a cheap
#: stretch of rows ends without warning, the chunk takes at most so many times what it should.
GROWTH: Final = 2.0
#: What is left of a chunk's weight for each newer one. pt-online-schema-change: 0.25.
DECAY: Final = 0.4
#: So many chunks below the frontier are looked at.
WINDOW: Final = 8
#: The size stays as it is while it is so little off: one that changed with each chunk would be
#: noise on record, and would throw away what the walk saw ahead.
DEADBAND: Final = 1.2
#: Trouble divides the size by this, at once; down to the size of the first chunk and no further:
#: if ten rows still meet it, it is not a matter of size.
CUT: Final = 2.0
#: After so many chunks without trouble the ceiling that it left is doubled.
CALM: Final = 16


class Cause(StrEnum):
    """Why a size was changed."""

    #: What the last chunks took.
    PACE = "pace"
    #: A chunk waited for a lock, or somebody waited for one that a chunk had.
    LOCK = "lock"
    #: A statement took longer than the database lets it.
    TIMEOUT = "timeout"
    #: Memory is short, of the database or where the lane works.
    MEMORY = "memory"
    #: The process of a chunk was killed, as it is when memory has run out.
    DEATH = "death"


class SizeOptions(TypedDict, total=False):
    """The options of a job and of a submit that say how large chunks are.

    Attributes:
        chunk_size: rows to a chunk, or ``"auto"``: as many as take ``chunk_seconds``.
        chunk_seconds: what a chunk is to take that sizes itself.
    """

    chunk_size: int | Literal["auto"] | None
    chunk_seconds: float | None


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """What a job or a submit says about the size of chunks.

    Attributes:
        rows: in each chunk; in the first one where ``seconds`` is given.
        seconds: what a chunk is to take; None for a fixed number of rows.
    """

    rows: int = DEFAULT_ROWS
    seconds: float | None = None

    @classmethod
    def checked(
        cls, size: int | Literal["auto"] | None, seconds: float | None, default: Self | None = None
    ) -> Self:
        """What ``chunk_size=`` and ``chunk_seconds=`` mean together.

        Args:
            default: what holds where neither is given.

        Raises:
            ValueError: they mean nothing; the message says which value, and what is right.
        """
        plain = default or cls()
        if seconds is not None and size != "auto" and (size is not None or plain.seconds is None):
            raise ValueError(
                f"chunk_seconds={seconds!r} without chunk_size='auto': it would count for nothing"
            )
        if seconds is not None and not _sensible(seconds):
            raise ValueError(
                f"chunk_seconds={seconds!r}: it must be seconds from {SHORTEST_SECONDS:g} to"
                f" {LONGEST_SECONDS:g}"
            )
        if size is None:
            return plain if seconds is None else cls(plain.rows, float(seconds))
        if size == "auto":
            return cls(FIRST_ROWS, float(seconds or plain.seconds or DEFAULT_SECONDS))
        if type(size) is not int or size < 1:
            raise ValueError(f"chunk_size={size!r}: it must be a whole number from 1 up, or 'auto'")
        return cls(size)

    def __str__(self) -> str:
        """For people: ``500 rows``, or ``as many rows as take 0.5 s``."""
        if self.seconds is not None:
            return f"as many rows as take {self.seconds:g} s"
        return "1 row" if self.rows == 1 else f"{self.rows:,} rows"


@dataclass(frozen=True, slots=True)
class Timed:
    """A chunk that is done: its rows, and the seconds it took."""

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Size:
    """A size on record.

    Attributes:
        rows: to a chunk.
        number: of the last chunk that had been carved by then.
        cause: why it was changed to this.
        ceiling: what trouble has left of it; None when there was none.
        ceiling_number: the last chunk carved when that trouble was seen.
        told: the size that the run's activity told last.
    """

    rows: int
    number: int = 0
    cause: Cause = Cause.PACE
    ceiling: int | None = None
    ceiling_number: int = 0
    told: int | None = None

    def ceiling_at(self, number: int) -> float:
        """How many rows a chunk may have now; infinite when no trouble is remembered."""
        if self.ceiling is None:
            return math.inf
        calm = max(0, number - self.ceiling_number) // CALM
        return self.ceiling * 2.0 ** min(calm, 64)


@dataclass(frozen=True, slots=True)
class SizeReport:
    """A change of a run's chunk size.

    Attributes:
        number: of the last chunk that had been carved by then.
        rows: to a chunk, from then on.
        cause: ``pace``, ``lock``, ``timeout``, ``memory`` or ``death``.
        detail: why, in words.
    """

    at: datetime
    number: int
    rows: int
    cause: str
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "at": self.at.isoformat(),
            "number": self.number,
            "rows": self.rows,
            "cause": self.cause,
            "detail": self.detail,
        }


def next_size(size: Size, number: int, done: Sequence[Timed], seconds: float, most: int) -> Size:
    """The size that counts from now on; ``size`` itself while it need not change.

    Args:
        size: the one on record.
        number: of the last chunk carved.
        done: chunks that are done, those with the highest keys first.
        seconds: the target.
        most: rows at most.
    """
    most = max(most, LEAST_ROWS)
    ceiling = min(size.ceiling_at(number), most)
    pace = rows_per_second(done)
    if pace is None:
        wanted = min(size.rows, ceiling)
    else:
        largest = max(one.rows for one in done[:WINDOW])
        wanted = min(pace * seconds, largest * GROWTH, ceiling)
    rows = max(LEAST_ROWS, _round(wanted))
    near = size.rows / DEADBAND < rows < size.rows * DEADBAND
    # Not at the upper bound: there it is not a matter of noise.
    if rows == size.rows or (near and size.rows <= ceiling and wanted < most):
        return size
    return Size(rows, number, Cause.PACE, size.ceiling, size.ceiling_number, size.told)


def braked(size: Size, number: int, rows: int, cause: Cause) -> Size:
    """The size after trouble: half of what the troubled chunk had, at once, and for a while.

    ``size`` itself where it is small enough already: of several chunks that meet the same trouble
    only the first makes it smaller, for the others had been carved before it was.

    Args:
        size: the one on record.
        number: of the last chunk carved.
        rows: of the chunk that met it.
    """
    # One that was much smaller (the rest before a gap, the last one) tells nothing of its size.
    base = rows if rows * CUT >= size.rows else size.rows
    left = max(FIRST_ROWS, _round(base / CUT))
    if left >= size.rows:
        return size
    return Size(left, number, cause, left, number, size.told)


def rows_per_second(done: Sequence[Timed]) -> float | None:
    """The decayed rate of the last chunks; None when nothing is known.

    When the last one was slower than those before it by more than a factor of two, it alone
    counts: what has become dear shall be met at once, what has become cheap may take its steps.

    Args:
        done: those with the highest keys first; the first counts most.
    """
    known = [one for one in done[:WINDOW] if one.rows > 0 and one.seconds > 0]
    if not known:
        return None
    newest = known[0].rows / known[0].seconds
    before = _decayed(known[1:])
    if before is not None and newest * 2 < before:
        return newest
    return _decayed(known)


def _decayed(done: Sequence[Timed]) -> float | None:
    rows = seconds = 0.0
    weight = 1.0
    for one in done:
        rows += weight * one.rows
        seconds += weight * one.seconds
        weight *= DECAY
    return rows / seconds if done else None


def noteworthy(size: Size) -> bool:
    """Whether a change is to be told in the run's activity.

    Trouble always is. Of the pace only what makes a factor of two since it was told last, or the
    activity of a long run would hold nothing else.
    """
    if size.cause is not Cause.PACE or size.told is None:
        return True
    return size.rows >= size.told * 2 or size.rows * 2 <= size.told


def _round(rows: float) -> int:
    """Two digits that count, downwards: people compare sizes, and more digits tell nothing."""
    # A hair more, because 0.1 + 0.2 is not 0.3.
    whole = int(rows + 1e-6)
    step: int = 10 ** max(0, len(str(whole)) - 2)
    return whole - whole % step


def _sensible(seconds: object) -> bool:
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return number and SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS  # type: ignore[operator]
