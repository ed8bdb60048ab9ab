"""Processes that are killed in the middle of their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.faults import processes

if TYPE_CHECKING:
    from tests.support.arenas import Arenas


def test_a_killed_child(set_arena: Arenas) -> None:
    """The kernel runs out of memory and kills a process of the pool; nobody waits for a lease."""
    arena = set_arena(knobs={"lease_seconds": 600.0})
    bout = arena.suffer(processes.a_killed_child)
    assert sum(arena.stage.attempts(bout.run).values()) <= 2, "only the chunk in hand pays"
    assert not arena.stage.losses(bout.run)


def test_a_killed_worker(set_arena: Arenas) -> None:
    """A machine is lost: its workers' processes are gone without a word."""
    arena = set_arena()
    bout = arena.suffer(processes.a_killed_worker)
    assert not arena.stage.attempts(bout.run), "a lost machine costs nobody an attempt"
    assert arena.stage.losses(bout.run)
