"""What has failed, as operators see it: attempts, groups of them, and rows in quarantine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from breakbulk.domain.chunk import chunk_name


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """What of a failed attempt tells whether it was the rows' fault."""

    at: datetime
    number: int
    path: str
    rows: int
    error: str
    place: str | None

    @property
    def kind(self) -> tuple[str, str | None]:
        """What makes two failures the same: class and place."""
        return (self.error, self.place)


@dataclass(frozen=True, slots=True)
class FailureReport:
    """A failed attempt as operators see it. ``number`` None: the callback's."""

    id: int
    at: datetime
    round: int
    number: int | None
    path: str | None
    attempt: int
    error: str
    message: str
    place: str | None
    traceback: str | None
    after: str | None
    upto: str | None
    rows: int | None
    worker: str | None
    host: str | None
    seconds: float | None

    @property
    def sentence(self) -> str:
        """Class and first line of the message, for a reason."""
        first = self.message.partition("\n")[0][:200]
        return f"{self.error}: {first}" if first else self.error

    @property
    def chunk(self) -> str | None:
        """The chunk's name; None for the callback."""
        return None if self.number is None else chunk_name(self.number, self.path)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"at": self.at.isoformat(), "chunk": self.chunk}


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed attempts of one class at one place.

    Attributes:
        attempts: how many.
        chunks: in how many chunks, as they were carved.
        example: the message of the latest.
        traceback: likewise its traceback, if there is one.
    """

    error: str
    place: str | None
    attempts: int
    chunks: int
    first_at: datetime
    last_at: datetime
    example: str
    traceback: str | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        times = {"first_at": self.first_at.isoformat(), "last_at": self.last_at.isoformat()}
        return asdict(self) | times


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that failed, alone, to the end of its tries.

    Attributes:
        key: encoded, as ``retry --key`` takes it.
        attempts: how often it was tried alone.
    """

    id: int
    number: int
    path: str
    key: str
    error: str
    message: str
    place: str | None
    traceback: str | None
    attempts: int
    round: int
    at: datetime

    @property
    def chunk(self) -> str:
        """The name of the chunk that is left of the one it was carved in."""
        return chunk_name(self.number, self.path)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"at": self.at.isoformat(), "chunk": self.chunk}
