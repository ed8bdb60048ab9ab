"""Workers that are shut down in the middle of the work, as at each deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.faults import processes

if TYPE_CHECKING:
    from tests.support.arena import Arena
    from tests.support.arenas import Arenas
    from tests.support.bout import Bout

_AT_ONCE = 20.0


#: Work that goes on for longer than any lane may stay that was told to leave.
_LONG: dict[str, Any] = {"rows": 6000, "knobs": {"slice_seconds": 60.0}}


def _judge_leave(arena: Arena, bout: Bout) -> None:
    assert bout.healed.share < 1, "the lanes ended with the chunk in hand, not with the run"
    assert not arena.stage.attempts(bout.run)
    assert not arena.stage.losses(bout.run)
    assert bout.handed_on is None or bout.handed_on < _AT_ONCE, "nominal: within a second"


def test_a_warm_shutdown(set_arena: Arenas) -> None:
    """A deploy sends SIGTERM: the chunk in hand ends, the rest is handed on at once."""
    arena = set_arena(**_LONG)
    _judge_leave(arena, arena.suffer(processes.a_warm_shutdown))


@pytest.mark.thorough
def test_a_soft_shutdown(set_arena: Arenas) -> None:
    """SIGQUIT where the team lets chunks go on for a while: they end, and no other begins."""
    arena = set_arena(**_LONG, celery={"worker_soft_shutdown_timeout": 5.0})
    _judge_leave(arena, arena.suffer(processes.a_cold_shutdown))


@pytest.mark.thorough
def test_a_restart(set_arena: Arenas) -> None:
    """SIGHUP, by which some teams deploy: the worker ends what is in hand and starts anew."""
    arena = set_arena(**_LONG)
    _judge_leave(arena, arena.suffer(processes.a_restart))


@pytest.mark.thorough
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_cold_shutdown(set_arena: Arenas, pool: str) -> None:
    """Somebody is impatient and sends SIGQUIT: children are ended wherever they are.

    Threads cannot be ended, so what they have in hand is done.
    """
    arena = set_arena(pool=pool)
    bout = arena.suffer(processes.a_cold_shutdown)
    assert not arena.stage.attempts(bout.run)


@pytest.mark.thorough
def test_a_soft_shutdown_that_is_too_short(set_arena: Arenas) -> None:
    """The team lets chunks go on for a while, but they take longer."""
    arena = set_arena(celery={"worker_soft_shutdown_timeout": 0.1}, rows=400, seconds=0.6)
    bout = arena.suffer(processes.a_cold_shutdown)
    assert not arena.stage.attempts(bout.run)
