"""Workers that are silent though they work, and workers that do not know what time it is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import processes
from tests.support.workers import with_clock_off

if TYPE_CHECKING:
    from tests.support.arenas import Arenas


@pytest.mark.thorough
@pytest.mark.parametrize("pool", ["threads", pytest.param("solo", marks=pytest.mark.thorough)])
def test_a_starved_steward(set_arena: Arenas, pool: str) -> None:
    """A chunk compresses an image, or trains a model, in C code that lets no thread run."""
    arena = set_arena(pool=pool, rows=600)
    bout = arena.suffer(processes.a_starved_steward)
    assert not arena.stage.attempts(bout.run), "silence is no failure"
    losses = arena.stage.losses(bout.run)
    assert max(losses.values(), default=0) <= 3, "no work is thrown away over and over"


@pytest.mark.thorough
def test_a_starved_steward_that_is_alone(set_arena: Arenas) -> None:
    """The same with one worker only: there is nobody to judge it, and nothing is thrown away."""
    arena = set_arena(pool="threads", size=1, rows=600)
    bout = arena.suffer(processes.a_starved_steward)
    assert not arena.stage.attempts(bout.run)
    assert not arena.stage.losses(bout.run)


@pytest.mark.parametrize("minutes", [10, pytest.param(-10, marks=pytest.mark.thorough)])
def test_a_wrong_clock(set_arena: Arenas, minutes: int) -> None:
    """A machine's clock is off, and it has to rescue what another machine has lost."""
    arena = set_arena(size=1)
    wrong = arena.fleet.join(env=with_clock_off(60.0 * minutes))
    wrong.until_ready()
    arena.fleet.size = 2
    bout = arena.suffer(processes.a_killed_leader)
    assert not arena.stage.attempts(bout.run)
    assert bout.struck
    assert "rescued" in wrong.log()
    told = datetime.fromisoformat(wrong.log().rpartition("\n[")[2][:19])
    off = told.astimezone() - datetime.now().astimezone()
    assert abs(off - timedelta(minutes=minutes)) < timedelta(minutes=5), "it is indeed wrong"
