"""Following a run until it ends or comes to rest."""

from __future__ import annotations

import time

from breakbulk.app import RunHandle
from breakbulk.console.views import View
from breakbulk.domain.looking import pause_after
from breakbulk.domain.progress import Progress
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import LedgerUnreachable, WaitTimeout

POLL_SECONDS = 0.25
#: How long a database that was there before may be away: a restart, a fail-over.
PATIENCE_SECONDS = 120.0


def follow(
    run: RunHandle, view: View, *, timeout: float | None = None, poll: float = POLL_SECONDS
) -> Progress:
    """Show a run until it has ended, or is paused or held; the last look at it.

    Args:
        timeout: seconds; None for as long as it takes.
        poll: seconds between two looks at most; at first it looks more often.

    Raises:
        WaitTimeout: it did not end in time. It goes on.
        LedgerUnreachable: the database did not answer from the first, or for long.
    """
    begun = time.monotonic()
    seen_at: float | None = None
    status = "not seen yet"
    while True:
        try:
            progress = run.progress()
            ended = _ended(run, progress)
        except LedgerUnreachable as error:
            if seen_at is None or time.monotonic() - seen_at > PATIENCE_SECONDS:
                raise
            view.trouble(str(error))
        else:
            seen_at, status = time.monotonic(), str(progress.status)
            view.show(progress)
            if ended:
                return progress
        spent = time.monotonic() - begun
        if timeout is not None and spent >= timeout:
            raise WaitTimeout(f"Run {run.id} is still {status} after {timeout:g} s; it goes on.")
        pause = pause_after(spent, poll)
        time.sleep(pause if timeout is None else min(pause, timeout - spent))


def _ended(run: RunHandle, progress: Progress) -> bool:
    if progress.status is RunStatus.HELD:
        # What only stands behind another run goes on by itself.
        record = run.record()
        return record.status is RunStatus.HELD and record.waits_for is None
    return progress.status in FINISHED or progress.status is RunStatus.PAUSED
