"""Workers that come and go by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import processes

if TYPE_CHECKING:
    from tests.support.arenas import Arenas


@pytest.mark.thorough
def test_a_recycled_child(set_arena: Arenas) -> None:
    """Memory leaks, so the team has each process of a pool replaced after every task."""
    arena = set_arena(
        rows=2000, knobs={"slice_seconds": 1.0}, celery={"worker_max_tasks_per_child": 1}
    )
    bout = arena.suffer(processes.a_recycled_child)
    assert not arena.stage.attempts(bout.run)
    assert not arena.stage.losses(bout.run)


@pytest.mark.thorough
def test_a_new_worker(set_arena: Arenas) -> None:
    """The team starts one more worker while a run goes on: it gets lanes of its own."""
    arena = set_arena(size=1, rows=6000)
    bout = arena.suffer(processes.a_new_worker)
    # The fault has ended because it had a lane, or because the run was over without it.
    assert bout.healed.share < 1, "it got a lane of this run"
