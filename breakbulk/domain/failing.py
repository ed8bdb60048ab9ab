"""What becomes of a chunk that has used up its retries, and of a run with many of them."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from breakbulk.domain.chunk import failed_part
from breakbulk.domain.retry import RetryPolicy

_PER_CENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_ALL = 100.0


class OnFailure(StrEnum):
    """What to do with a chunk whose retries are used up."""

    #: Split it in half down to the rows that fail, put these in quarantine, do the rest.
    ISOLATE = "isolate"
    #: Leave the whole chunk out, go on with the others.
    SKIP = "skip"
    #: End the run as failed.
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many rows may fail before the run does.

    Attributes:
        rows: that many rows.
        per_cent: that part of the rows; None when ``rows`` counts.
    """

    rows: int = 0
    per_cent: float | None = None

    @classmethod
    def parsed(cls, given: object) -> Self:
        """From what a declaration says: a number of rows, or per cent as in ``"2.5%"``.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
            return cls(rows=given)
        matched = _PER_CENT.fullmatch(given) if isinstance(given, str) else None
        if matched is None or not 0 <= float(matched[1]) <= _ALL:
            raise ValueError(given)
        return cls(per_cent=float(matched[1]))

    def room(self, failed: int, total: int | None) -> int | None:
        """How many more rows may fail; less than 0 when too many have.

        Args:
            total: rows of the run as far as known; without it per cent mean nothing yet, and
                the room is not known.
        """
        if self.per_cent is None:
            return self.rows - failed
        if total is None:
            return None
        # A hair more, because 0.29 of 100 is 28.999999999999996.
        return math.floor(self.per_cent * max(total, 1) / _ALL + 1e-9) - failed

    def __str__(self) -> str:
        return str(self.rows) if self.per_cent is None else f"{self.per_cent:g}%"


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """All that a job says about failures, as the run keeps it."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_failure: OnFailure = OnFailure.ISOLATE
    tolerate: Tolerance = field(default_factory=lambda: Tolerance(rows=1000))
    #: Seconds; a chunk that hangs in a healthy worker must not last for ever.
    chunk_timeout: float | None = 3600.0

    def tries(self, path: str, rows: int) -> int:
        """How often a chunk is tried.

        Half of a chunk that has failed is tried once, for what it is made of has had its retries.
        A single row gets a second try, after a delay, before it is put in quarantine.
        """
        if not failed_part(path):
            return self.retry.max_retries + 1
        return 1 if rows > 1 else 2

    def wait_after(
        self, attempt: int, path: str, rows: int, kinds: tuple[str, ...] = ()
    ) -> float | None:
        """Seconds to wait after a failed attempt; None when the chunk has had its tries."""
        if not failed_part(path):
            return self.retry.wait_after(attempt, kinds)
        if attempt >= self.tries(path, rows) or not self.retry.hopeful(kinds):
            return None
        return self.retry.delay(attempt)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self.retry),
            "on_failure": str(self.on_failure),
            "chunk_timeout": self.chunk_timeout,
            "tolerate": str(self.tolerate)
            if self.tolerate.per_cent is not None
            else self.tolerate.rows,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`; what an older version did not know is as by default."""
        plain = cls()
        known = {one.name for one in fields(RetryPolicy)}
        retry: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
        return cls(
            RetryPolicy(**retry),
            OnFailure(values.get("on_failure", plain.on_failure)),
            Tolerance.parsed(values["tolerate"]) if "tolerate" in values else plain.tolerate,
            values.get("chunk_timeout", plain.chunk_timeout),
        )
