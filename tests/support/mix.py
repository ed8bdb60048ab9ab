"""A mix: faults one after another and on top of each other, for a time."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tests.support.arena import Arena
    from tests.support.fault import Fault
    from tests.support.sight import Sight

#: Faults that strike one run, at most.
_MOST = 3
#: Runs until a fault strikes one, at most.
_RUNS = 10
#: So many runs of a hundred have bad rows, so many at most.
_POISONED, _BAD = 25, 2
#: What logs hold because of them.
_BAD_ROWS = ("has no owner", "is given up", "WorkerLostError", "Process 'ForkPoolWorker")


def endure(arena: Arena, faults: Sequence[Fault], seconds: float, *, deeds: Sequence[str]) -> int:
    """Let faults strike run after run; how many did.

    Which ones, and in which order, is decided by the arena's dice alone, whatever comes of them.

    Args:
        deeds: what befalls processes at rows that are bad.
    """

    def mind() -> None:
        if not arena.fleet.able():
            arena.fleet.replenish()

    arena.meanwhile, arena.alone = mind, False
    arena.expect(_BAD_ROWS)
    began = time.monotonic()
    seed = arena.dice.random()
    struck = number = 0
    # On a slow machine the only run there was time for may be over before anything strikes it.
    while time.monotonic() - began < seconds or (not struck and number < _RUNS):
        number += 1
        arena.dice = random.Random(f"{seed} {number}")
        chosen = arena.dice.sample(faults, arena.dice.randint(1, _MOST))
        poison = _poison(arena, deeds) if arena.dice.randrange(100) < _POISONED else {}
        arena.orders.put_poison(poison)
        told = [fault.name for fault in chosen] + [f"bad rows {poison}"] * bool(poison)
        arena.say(f"{time.monotonic() - began:5.1f} s: run {number}: {', '.join(told)}")
        struck += _endure(arena, chosen)
    arena.judge()
    return struck


def _poison(arena: Arena, deeds: Sequence[str]) -> dict[str, str]:
    keys = [3 * n - 500 for n in arena.dice.sample(range(arena.rows), _BAD)]
    return {str(key): arena.dice.choice(deeds) for key in keys}


def _endure(arena: Arena, faults: Sequence[Fault]) -> int:
    """One run under several faults."""
    arena.sound = False
    # Anywhere: at the very beginning, too, and while the run is called back.
    moments = sorted(arena.dice.uniform(0, 1) for _ in faults)
    run = arena.submit()
    open_deeds: list[Iterator[Collection[int]]] = []
    struck = 0
    for fault, moment in zip(faults, moments, strict=True):
        arena.expect(fault.complaints)
        sight = _whole(arena, arena.until_share(run, moment))
        if not sight.in_flight:
            continue
        struck += 1
        deed = fault.deed(arena, sight)
        pids = set(next(deed))
        arena.struck.update(one.worker for one in sight.held if one.pid in pids)
        open_deeds.append(deed)
        if fault.breaks or fault.halts:
            _heal(arena, open_deeds)
    _heal(arena, open_deeds)
    arena.see_through(run)
    return struck


def _heal(arena: Arena, deeds: list[Iterator[Collection[int]]]) -> None:
    """Put right what does not mend by itself, and have all workers there again."""
    while deeds:
        # The last first: it may have frozen what another one waits for.
        next(deeds.pop(), None)
    arena.struck.clear()
    arena.fleet.replenish()


def _whole(arena: Arena, sight: Sight) -> Sight:
    """What is held by processes that no fault has struck yet."""
    return sight.only(
        lambda one: one.worker not in arena.struck and _able(one.pid) and _able(one.worker)
    )


def _able(pid: int) -> bool:
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
