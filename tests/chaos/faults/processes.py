"""Faults of worker processes: killed, frozen, shut down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from tests.support.fault import fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.sight import Sight


@fault(complaints=["WorkerLostError", "Process 'ForkPoolWorker"])
def a_killed_child(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """``kill -9`` one process of a pool that is at a chunk."""
    victim = arena.dice.choice(sight.in_flight)
    psutil.Process(victim.pid).kill()
    yield {victim.pid}


@fault(leases=1)
def a_killed_worker(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """``kill -9`` all processes of a worker at once, as when its machine is lost."""
    victim = arena.fleet.of(arena.dice.choice(sight.in_flight).worker)
    pids = {one.pid for one in sight.in_flight if one.worker == victim.pid}
    victim.kill_all()
    yield pids
    arena.fleet.replenish()
