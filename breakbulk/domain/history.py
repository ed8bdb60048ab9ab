"""What became of a chunk: its attempts in the order in which they were made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from breakbulk.domain.failed import FailureReport


class AttemptState(StrEnum):
    """How an attempt stands."""

    FAILED = "failed"
    SUCCEEDED = "succeeded"
    #: Its lane is at it.
    RUNNING = "running"
    #: Its lane has claimed it, and is at another one still.
    CLAIMED = "claimed"
    #: It is to be made from some time on.
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a chunk.

    Attributes:
        number: which try it was; they are counted anew when a chunk is opened again.
        began: None while it has not begun, and where nobody has measured it.
        ended: None while it has not.
        due: of one that waits, from when on.
        worker: the machine and the process; None where that is not on record.
        failure: what was raised, if anything was.
    """

    number: int
    state: AttemptState
    began: datetime | None = None
    ended: datetime | None = None
    due: datetime | None = None
    worker: str | None = None
    failure: FailureReport | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None where that is not known."""
        if self.began is None or self.ended is None:
            return None
        return (self.ended - self.began).total_seconds()


@dataclass(frozen=True, slots=True)
class History:
    """All attempts at a chunk that are on record.

    Attributes:
        attempts: in order of time.
        at: when that was asked, by the database's clock.
        spent: it has had its tries; whoever claims it next splits it, or gives it up.
    """

    attempts: list[Attempt]
    at: datetime
    spent: bool = False


def failed_attempts(failures: Iterable[FailureReport]) -> list[Attempt]:
    """Attempts that failed, in order of time.

    Args:
        failures: in whatever order.
    """
    return [
        Attempt(
            one.attempt,
            AttemptState.FAILED,
            began=began(one.at, one.seconds),
            ended=one.at,
            worker=one.worker,
            failure=one,
        )
        for one in sorted(failures, key=lambda one: one.id)
    ]


def began(ended: datetime, seconds: float | None) -> datetime | None:
    """When something began that has ended after so many seconds."""
    return None if seconds is None else ended - timedelta(seconds=seconds)
