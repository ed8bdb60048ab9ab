"""What the code of a job that keeps results may say of an item: what came of it, or what failed.

Only jobs of Breakbulk's own keep results: those that run somebody else's tasks, which have retries
of their own. Users say :class:`breakbulk.Snooze` and :class:`breakbulk.CancelRun` instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: The numbers in the ledger of what belongs to no item: the callback's own result and state, and
#: a value that the run was given when it was released.
CALLBACK_NUMBER = 0
INCOMING_NUMBER = -1

#: Characters of a state: it is what a next attempt needs to know, and no place for data.
STATE_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """What is written down in the transaction that marks an item done.

    Attributes:
        result: JSON text; None keeps nothing.
        outgoing: Celery signatures as text, each to be sent at least once.
    """

    result: str | None = None
    outgoing: tuple[str, ...] = ()


class Again(Exception):
    """This attempt has failed; another one follows, whatever the run's policy says of retries.

    Args:
        seconds: until then at least.
        cause: what is written down as the failure.
        state: JSON text that the next attempt sees; written in the transaction that gives the
            item back. None: there is none any more.

    Raises:
        ValueError: the wait is no number of seconds, or the state is too long.
    """

    def __init__(self, seconds: float, cause: BaseException, state: str | None = None) -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"Again takes a number of seconds from 0 up, not {seconds!r}.")
        if state is not None and len(state) > STATE_LIMIT:
            raise ValueError(f"A state of {len(state)} characters is more than {STATE_LIMIT}.")
        super().__init__(seconds, cause, state)
        self.seconds = float(seconds)
        self.cause = cause
        self.state = state


class Hopeless(Exception):
    """This item, or this callback, has failed for good, and says so itself.

    It is neither tried again nor split, and nothing is suspected behind it.

    Args:
        cause: what is written down as the failure.
        outgoing: Celery signatures as text, each to be sent at least once; written in the
            transaction that puts the item away.
    """

    def __init__(self, cause: BaseException, outgoing: Iterable[str] = ()) -> None:
        self.cause = cause
        self.outgoing = tuple(outgoing)
        super().__init__(cause, self.outgoing)


class LeftOut(Exception):
    """This item is not to be done: it counts as skipped.

    Args:
        why: in one sentence, for operators.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
