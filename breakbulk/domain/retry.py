"""When a failed chunk is tried again. The words are Celery's, and so is what they mean.

https://docs.celeryq.dev/en/stable/userguide/tasks.html#automatic-retry-for-known-exceptions
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: 2 to this power is days, whatever the first delay is: no number overflows on the way.
_LAST_DOUBLING = 30


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a chunk is tried again. All durations are seconds.

    Attributes:
        max_retries: tries after the first one; 0 means one try in all.
        retry_delay: between a failure and the next try, unless there is a back-off.
        retry_backoff: the first delay, doubled after each further failure; 0 for none.
        retry_backoff_max: no delay of a back-off is longer.
        retry_jitter: draw each delay of a back-off between 0 and itself, so that what failed
            together does not come back together.
        retry_for: names of exceptions; only these and those derived from them are tried again.
            Empty: all.
        give_up_for: names of exceptions that are never tried again.
    """

    max_retries: int = 5
    retry_delay: float = 60.0
    retry_backoff: float = 0.0
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True
    retry_for: tuple[str, ...] = ()
    give_up_for: tuple[str, ...] = ()

    def wait_after(
        self,
        attempt: int,
        kinds: Collection[str] = (),
        *,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> float | None:
        """Seconds to wait after failed attempt number ``attempt``; None to give up.

        Args:
            kinds: names of the exception's classes; empty for a process that died or a chunk
                that took too long, which every policy tries again.
        """
        if attempt > self.max_retries or not self.hopeful(kinds):
            return None
        return self.delay(attempt, draw=draw)

    def hopeful(self, kinds: Collection[str]) -> bool:
        """Whether an exception of these classes is worth another try."""
        if not kinds:
            return True
        if any(kind in self.give_up_for for kind in kinds):
            return False
        return not self.retry_for or any(kind in self.retry_for for kind in kinds)

    def delay(
        self, attempt: int, *, draw: Callable[[float, float], float] = random.uniform
    ) -> float:
        """Seconds between failed attempt number ``attempt`` and the next."""
        if not self.retry_backoff:
            return self.retry_delay
        doublings = min(attempt - 1, _LAST_DOUBLING)
        delay = min(self.retry_backoff_max, self.retry_backoff * 2.0**doublings)
        return draw(0.0, delay) if self.retry_jitter else delay


def class_name(kind: type[BaseException]) -> str:
    """What an exception's class is called in the ledger: the bare name for Python's own."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def class_names(error: BaseException) -> tuple[str, ...]:
    """The names of an exception's classes, from its own up to ``BaseException``."""
    return tuple(class_name(kind) for kind in type(error).__mro__ if kind is not object)
