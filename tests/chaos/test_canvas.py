"""A chord under fire: through the session once, at least once beside it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import RunStatus
from breakbulk.canvas import chord
from tests.chaos.faults import brokers, databases, processes
from tests.support.tasks import notes
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from breakbulk import RunHandle
    from tests.support.arenas import Arenas
    from tests.support.fault import Fault
    from tests.support.stages import Stages

_PARTS = 400
_SECONDS = 0.06
_FEW = 20
#: What Celery says in its own log when a process of its pool is killed.
_KILLED = ("WorkerLostError", "Process 'ForkPoolWorker")
#: What Celery's own tracer says of a part whose session is gone; it is tried again at once.
_GONE = "raised unexpected: OperationalError"


def _struck(what: Fault, *, thorough: bool = True, **knobs: float) -> Any:
    """A fault, and the settings under which it strikes."""
    marks = [pytest.mark.thorough] if thorough else []
    return pytest.param(what, knobs, marks=marks, id=what.name.replace(" ", "-"))


_with_and_without = pytest.mark.parametrize(
    "session",
    [
        pytest.param(True, id="session"),
        pytest.param(False, id="beside", marks=pytest.mark.thorough),
    ],
)


@_with_and_without
@pytest.mark.parametrize(
    ("what", "knobs"),
    [
        _struck(processes.a_killed_child),
        _struck(processes.a_killed_worker, thorough=False),
        _struck(processes.a_cold_shutdown),
        _struck(processes.a_frozen_worker),
        # Lanes are handed on all the time, so that much depends on messages.
        _struck(brokers.a_flushed_broker, slice_seconds=1.0),
        # As by default: whoever is away for less is not missed.
        _struck(databases.a_crashed_database, lease_seconds=15.0),
        _struck(databases.cut_connections, lease_seconds=15.0),
    ],
)
def test_a_chord(
    set_arena: Arenas, tmp_path: Path, what: Fault, knobs: dict[str, float], *, session: bool
) -> None:
    arena = set_arena(breaks=what.breaks, rows=_PARTS, seconds=_SECONDS, knobs=knobs)
    path = tmp_path / "notes"
    keys = [3 * n - 500 for n in range(_PARTS)]
    tasks = arena.stage.application.app.tasks

    def submit() -> RunHandle:
        arena.orders.calm_down()
        path.unlink(missing_ok=True)
        haul = tasks["team.haul"]
        given = (_SECONDS, str(arena.orders.directory), str(path))
        parts = (haul.s(key, *given, session=session) for key in keys)
        run = chord(parts, tasks["team.call_back"].si()).apply_async().run
        arena.runs.append(run)
        return run

    vars(arena)["submit"] = submit
    if not session:
        # No part touches a row.
        vars(arena)["judge"] = partial(arena.judge, version=0)
    if session and what.breaks:
        arena.expect({_GONE})
    # Each row once, the body once and its notice, too: the arena has seen to that.
    arena.suffer(what)
    written = Counter(key for _, key in notes(path))
    assert set(written) == set(keys), "no part is lost, whatever it does"
    assert max(written.values()) <= 2, "and what is done again is only what was in hand"


@pytest.mark.thorough
@_with_and_without
def test_a_body_that_is_killed(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path, *, session: bool
) -> None:
    """When it has written what it had to write, and before that is committed."""
    # A lease so long that nobody can have waited for it.
    stage = set_stage(postgres_url, valkey_url, knobs={"lease_seconds": 600.0})
    stage.put(_FEW)
    stage.worker(concurrency=1)
    gate, path = stage.gate(), tmp_path / "notes"
    tasks = stage.application.app.tasks
    body = tasks["team.call_back"].si("" if session else str(path), gate=str(gate.directory))
    header = [tasks["team.count"].s(key) for key in range(1, _FEW + 1)]
    run = chord(header, body).apply_async().run
    wait_for(gate.arrived, message="the body to be called")
    ((_, pid),) = gate.arrived()
    assert run.status() is RunStatus.FINISHING
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(gate.arrived()) == 2, message="it to be called again")
    gate.open()
    stage.until_succeeded(run)
    assert run.record().finish_attempt == 2
    if session:
        stage.judge(run, rows=_FEW, complaints=_KILLED)
    else:
        assert stage.versions() == {1: _FEW}
        assert notes(path) == [["call_back"]] * 2, "once for each time that it was tried"
