"""Behind PgBouncer in transaction mode: every transaction may get another session."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import processes
from tests.support.bouncer import bouncer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.arenas import Arenas


@pytest.fixture
def behind(postgres_url: str) -> Iterator[str]:
    """URL of the test's database behind a PgBouncer."""
    with ExitStack() as stack:
        yield stack.enter_context(bouncer(postgres_url, sessions=6))


@pytest.mark.thorough
def test_a_worker_frozen_for_good(behind: str, set_arena: Arenas) -> None:
    """The session that it has in hand is found and ended, though it was never its own."""
    arena = set_arena(database_of_workers=behind)
    bout = arena.suffer(processes.a_worker_frozen_for_good)
    assert not arena.stage.attempts(bout.run)
    arena.see_through(arena.submit())


@pytest.mark.thorough
def test_a_killed_worker(behind: str, set_arena: Arenas) -> None:
    arena = set_arena(database_of_workers=behind)
    arena.suffer(processes.a_killed_worker)
