"""What a command exits with, so that a script can tell how a run ended."""

from __future__ import annotations

from breakbulk.domain.status import RunStatus

SUCCEEDED = 0
#: An error, or an audit or a doctor that found something.
ERROR = 1
#: An unknown job, a bad parameter, no application given.
USAGE = 2
PARTIAL = 3
CANCELLED = 4
#: Paused or held: it goes on when a human says so.
AT_REST = 5
#: It goes on, but nobody waits for it any more: out of time, or let go with Ctrl-C.
STILL_GOING = 6
#: No database, no broker, or tables of another version.
NO_FOUNDATION = 7
FAILED = 8
#: Ctrl-C, as shells count it.
INTERRUPTED = 130

_OF_STATUS = {
    RunStatus.SUCCEEDED: SUCCEEDED,
    RunStatus.PARTIAL: PARTIAL,
    RunStatus.CANCELLED: CANCELLED,
    RunStatus.PAUSED: AT_REST,
    RunStatus.HELD: AT_REST,
    RunStatus.FAILED: FAILED,
    # Nobody can tell any more how it ended.
    RunStatus.PRUNING: ERROR,
}


def exit_code_of(status: RunStatus) -> int:
    """The exit code that tells where a run stands."""
    return _OF_STATUS.get(status, STILL_GOING)
