"""What a worker's log says that reads like trouble."""

from __future__ import annotations

import re

_RECORD = re.compile(r"^(?=\[\d{4}-)", re.MULTILINE)
_TROUBLE = ("Traceback (most recent call last)", " ERROR/", " CRITICAL/")
# Celery gives a process of its pool four seconds to say that it is up. It kills one that did not,
# which has no task yet, and forks another in its place. On a busy machine that can happen to any
# worker in any test, and nothing is wrong then.
_LATE = re.compile(r"Timed out waiting for UP message from <ForkProcess\((ForkPoolWorker-\d+),")
_ITS_END = "Process '{}' pid:"


def complaints(log: str) -> list[str]:
    """The entries of a log that read like trouble, less those of a machine that is slow."""
    late = _LATE.findall(log)
    ends = [_ITS_END.format(name) for name in late]
    return [
        entry
        for entry in _RECORD.split(log)
        if any(word in entry for word in _TROUBLE)
        and not _LATE.search(entry)
        and not any(end in entry and "signal 9 (SIGKILL)" in entry for end in ends)
    ]
