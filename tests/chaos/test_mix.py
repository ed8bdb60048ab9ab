"""A bad night: faults one after another and on top of each other, drawn from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.faults.catalogue import FAULTS
from tests.support.mix import endure

if TYPE_CHECKING:
    import random

    from tests.support.arenas import Arenas

_SERVERS = frozenset[str]().union(*(fault.breaks for fault in FAULTS))
#: How a team may have set up its workers.
_STYLES: tuple[dict[str, Any], ...] = (
    {},
    {"pool": "threads"},
    {"pool": "solo", "concurrency": 1, "size": 3},
    {"celery": {"task_acks_late": True, "worker_prefetch_multiplier": 1}},
    {"celery": {"worker_max_tasks_per_child": 2}, "knobs": {"slice_seconds": 1.0}},
)


@pytest.mark.parametrize(
    "seconds",
    [
        # Every session mixes anew, so many short ones meet as much as a long one.
        pytest.param(10, id="short", marks=pytest.mark.thorough),
        pytest.param(30, id="longer", marks=pytest.mark.thorough),
        pytest.param(600, id="long", marks=pytest.mark.soak),
    ],
)
def test_a_mix_of_faults(set_arena: Arenas, seed: random.Random, seconds: int) -> None:
    """Everything that can go wrong goes wrong, and still every row is done once."""
    style = seed.choice(_STYLES)
    arena = set_arena(breaks=_SERVERS, job={"max_retries": 1}, **style)
    arena.say(f"workers: {style or 'as they come'}")
    # Where lanes are threads, a row that kills takes the whole worker with it, again and again.
    deeds = ["raise"] if "pool" in style else ["raise", "kill"]
    assert endure(arena, FAULTS, seconds, deeds=deeds)
