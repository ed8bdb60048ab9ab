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
#: When they strike: the run goes on for long after the last.
_MOMENTS = (0.1, 0.8)


def endure(arena: Arena, faults: Sequence[Fault], seconds: float) -> int:
    """Let faults strike run after run; how many did.

    Which ones, and in which order, is decided by the arena's dice alone, whatever comes of them.
    """

    def mind() -> None:
        if not arena.fleet.able():
            arena.fleet.replenish()

    arena.meanwhile, arena.alone = mind, False
    began = time.monotonic()
    seed = arena.dice.random()
    struck = number = 0
    while time.monotonic() - began < seconds:
        number += 1
        arena.dice = random.Random(f"{seed} {number}")
        chosen = arena.dice.sample(faults, arena.dice.randint(1, _MOST))
        at = time.monotonic() - began
        arena.say(f"{at:5.1f} s: run {number}: {', '.join(fault.name for fault in chosen)}")
        struck += _endure(arena, chosen)
    arena.judge()
    return struck


def _endure(arena: Arena, faults: Sequence[Fault]) -> int:
    """One run under several faults."""
    arena.sound = False
    moments = sorted(arena.dice.uniform(*_MOMENTS) for _ in faults)
    run = arena.submit()
    open_deeds: list[Iterator[Collection[int]]] = []
    struck = 0
    for fault, moment in zip(faults, moments, strict=True):
        arena.expect(fault)
        sight = _living(arena.until_share(run, moment))
        if not sight.in_window:
            continue
        struck += 1
        deed = fault.deed(arena, sight)
        next(deed)
        open_deeds.append(deed)
        if fault.breaks:
            _heal(arena, open_deeds)
    _heal(arena, open_deeds)
    arena.see_through(run)
    return struck


def _heal(arena: Arena, deeds: list[Iterator[Collection[int]]]) -> None:
    """Put right what does not mend by itself, and have all workers there again."""
    while deeds:
        next(deeds.pop(0), None)
    arena.fleet.replenish()


def _living(sight: Sight) -> Sight:
    """What is held by processes that a fault can still strike."""
    return sight.only(lambda one: _able(one.pid) and _able(one.worker))


def _able(pid: int) -> bool:
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
