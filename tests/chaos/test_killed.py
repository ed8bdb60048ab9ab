"""Processes that are killed in the middle of their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import processes

if TYPE_CHECKING:
    from tests.support.arenas import Arenas

#: Nobody can have waited for it.
_ENDLESS = {"lease_seconds": 600.0}


@pytest.mark.thorough
def test_a_killed_child(set_arena: Arenas) -> None:
    """The kernel runs out of memory and kills a process of the pool while it works."""
    arena = set_arena(knobs=_ENDLESS)
    bout = arena.suffer(processes.a_killed_child)
    assert len(arena.stage.attempts(bout.run)) <= 1, "only the chunk in hand pays"
    assert not arena.stage.losses(bout.run)


@pytest.mark.thorough
def test_a_death_in_commit(set_arena: Arenas) -> None:
    """The same, when the database has been told to commit and nobody hears its answer."""
    arena = set_arena(knobs=_ENDLESS)
    bout = arena.suffer(processes.a_death_in_commit)
    assert len(arena.stage.attempts(bout.run)) <= 1, "only the chunk in hand pays"
    assert not arena.stage.losses(bout.run)


def test_a_killed_worker(set_arena: Arenas) -> None:
    """A machine is lost: its worker's processes are gone without a word."""
    arena = set_arena()
    bout = arena.suffer(processes.a_killed_worker)
    assert not arena.stage.attempts(bout.run), "a lost machine costs nobody an attempt"
    lost = {one.number for one in bout.struck}
    assert lost <= set(arena.stage.losses(bout.run)), "it is counted as a loss"


@pytest.mark.thorough
def test_a_killed_leader(set_arena: Arenas) -> None:
    """The machine that is lost is the one whose steward would rescue others."""
    arena = set_arena()
    bout = arena.suffer(processes.a_killed_leader)
    assert not arena.stage.attempts(bout.run), "a lost machine costs nobody an attempt"


@pytest.mark.thorough
def test_a_killed_main_process(set_arena: Arenas) -> None:
    """Somebody kills the process that ``ps`` shows first; its children are orphans now."""
    arena = set_arena()
    bout = arena.suffer(processes.a_killed_main_process)
    assert not arena.stage.attempts(bout.run)
