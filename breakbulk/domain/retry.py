"""When a failed chunk is tried again. The numbers' words are Celery's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a chunk is tried again.

    Attributes:
        max_retries: tries after the first one; 0 means one try in all.
        retry_delay: seconds between a failure and the next try.
    """

    max_retries: int = 5
    retry_delay: float = 60.0

    def wait_after(self, attempt: int) -> float | None:
        """Seconds to wait after failed attempt number ``attempt``; None to give up."""
        return None if attempt > self.max_retries else self.retry_delay
