"""What workers spend while there is nothing that they could do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.arena import Arena
    from tests.support.workers import Worker

#: Of each second of a core, for each process. One that spins takes all that it can get.
_CPU = 0.1
#: For each process, on top of one for each second.
_LINES = 10


def sit_out(arena: Arena, seconds: float) -> None:
    """Something is away for so long, and nobody may spin meanwhile."""
    if arena.alone:
        sit_out_quietly(arena.fleet.members, seconds)
    else:
        # Workers that start meanwhile have much to do.
        time.sleep(seconds)  # that long it is away


def sit_out_quietly(workers: Sequence[Worker], seconds: float) -> None:
    """The same for workers without an arena.

    Raises:
        AssertionError: one of the workers' processes took more time than it takes to look now
            and then, or they had more to say than that.
    """
    before = {worker: (_cpu(worker), _said(worker)) for worker in workers}
    began = time.monotonic()
    time.sleep(seconds)  # that long it is away
    took = time.monotonic() - began
    for worker, (cpu_before, said_before) in before.items():
        cpu, said = _cpu(worker), _said(worker) - said_before
        spent = {pid: cpu[pid] - cpu_before[pid] for pid in cpu if pid in cpu_before}
        worst = max(spent.values(), default=0.0)
        assert worst <= _CPU * took, f"{worker.name} spins: {spent} s of CPU in {took:.1f} s"
        most = len(spent) * (_LINES + took)
        assert said <= most, f"{worker.name} repeats itself: {said} lines in {took:.1f} s"


def _cpu(worker: Worker) -> dict[int, float]:
    found = {}
    for process in worker.family():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = times.user + times.system
    return found


def _said(worker: Worker) -> int:
    """Records, not lines: a traceback is said once."""
    return worker.log().count("\n[20")
