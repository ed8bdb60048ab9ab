"""A bad night: faults one after another and on top of each other, drawn from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults.catalogue import FAULTS
from tests.support.mix import endure

if TYPE_CHECKING:
    from tests.support.arenas import Arenas

_SERVERS = frozenset[str]().union(*(fault.breaks for fault in FAULTS))


@pytest.mark.parametrize(
    "seconds", [pytest.param(30, id="short"), pytest.param(600, id="long", marks=pytest.mark.soak)]
)
def test_a_mix_of_faults(set_arena: Arenas, seconds: int) -> None:
    """Everything that can go wrong goes wrong, and still every row is done once."""
    arena = set_arena(breaks=_SERVERS)
    assert endure(arena, FAULTS, seconds)
