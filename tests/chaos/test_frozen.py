"""Processes that stand still: what they held is given to others, and they cannot commit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import processes

if TYPE_CHECKING:
    from tests.support.arenas import Arenas

#: Nobody can have waited for it.
_ENDLESS = {"lease_seconds": 600.0}


@pytest.mark.thorough
def test_a_frozen_worker_that_comes_back(set_arena: Arenas) -> None:
    """A virtual machine is paused, for a snapshot or a move, and goes on as if nothing was."""
    arena = set_arena()
    bout = arena.suffer(processes.a_frozen_worker)
    assert not arena.stage.attempts(bout.run)
    logs = [worker.log() for worker in arena.fleet.members]
    assert any("cannot be committed here any more" in log for log in logs), "it says so"
    # It is welcome again, as a worker like any other.
    arena.see_through(arena.submit())


def test_a_worker_that_is_frozen_for_good(set_arena: Arenas) -> None:
    """A machine hangs with rows locked, and its connections stay open for hours."""
    arena = set_arena()
    bout = arena.suffer(processes.a_worker_frozen_for_good)
    assert not arena.stage.attempts(bout.run)


@pytest.mark.thorough
def test_a_frozen_main_process(set_arena: Arenas) -> None:
    """Somebody stops a worker to look at it; its children know nothing of it and work on."""
    arena = set_arena(rows=3000)
    bout = arena.suffer(processes.a_frozen_main_process)
    assert bout.healed.share < 1, "its lanes were ended, not just done"
    assert not arena.stage.attempts(bout.run)


@pytest.mark.thorough
def test_a_frozen_child(set_arena: Arenas) -> None:
    """Somebody attaches a debugger to one process of the pool and forgets about it."""
    arena = set_arena(job={"chunk_timeout": processes.CHUNK_TIMEOUT}, knobs=_ENDLESS)
    bout = arena.suffer(processes.a_frozen_child)
    assert len(arena.stage.attempts(bout.run)) <= 1
    assert not arena.stage.losses(bout.run)


@pytest.mark.thorough
def test_workers_that_are_all_frozen(set_arena: Arenas) -> None:
    """The machine that all workers are on is suspended: they all look dead, and nobody is."""
    arena = set_arena(knobs={"lease_seconds": 5.0})
    bout = arena.suffer(processes.frozen_workers)
    assert not arena.stage.attempts(bout.run)
    assert not arena.stage.losses(bout.run), "whoever was silent himself judges nobody"
