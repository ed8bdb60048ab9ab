"""A chord whose workers are killed: once through the session, at least once beside it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from breakbulk.canvas import chord
from tests.chaos.faults import processes
from tests.support.tasks import notes

if TYPE_CHECKING:
    from pathlib import Path

    from breakbulk import RunHandle
    from tests.support.arenas import Arenas
    from tests.support.fault import Fault

_PARTS = 400
_SECONDS = 0.06


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(processes.a_killed_child, marks=pytest.mark.thorough),
        processes.a_killed_worker,
        pytest.param(processes.a_cold_shutdown, marks=pytest.mark.thorough),
    ],
    ids=lambda fault: fault.name,
)
def test_a_chord(set_arena: Arenas, tmp_path: Path, fault: Fault) -> None:
    arena = set_arena(rows=_PARTS, seconds=_SECONDS)
    path = tmp_path / "notes"
    keys = [3 * n - 500 for n in range(_PARTS)]
    tasks = arena.stage.application.app.tasks

    def submit() -> RunHandle:
        arena.orders.calm_down()
        path.unlink(missing_ok=True)
        haul = tasks["team.haul"]
        parts = (haul.s(key, _SECONDS, str(arena.orders.directory), str(path)) for key in keys)
        run = chord(parts, tasks["team.call_back"].si()).apply_async().run
        arena.runs.append(run)
        return run

    vars(arena)["submit"] = submit
    # Each row once, the body once and its notice, too: the arena has seen to that.
    arena.suffer(fault)
    written = Counter(key for _, key in notes(path))
    assert set(written) == set(keys), "no part is lost, whatever it does"
    assert max(written.values()) <= 2, "and what is done again is only what was in hand"
