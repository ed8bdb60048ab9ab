"""Many runs at once, and workers that are not all alike."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import func, select

from breakbulk import RunStatus
from tests.chaos.faults import processes
from tests.support.fault import fault
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.arenas import Arenas
    from tests.support.sight import Sight

_RUNS = 50
_CHUNKS = 16
#: A run outlasts four slices, so it has to come back for more when others had their turn.
_SECONDS = 0.25
#: A run's least share when half of all is done; one after the other many would have none.
_LEAST = 1 / _CHUNKS


@pytest.mark.thorough
def test_fifty_runs_share_the_workers_fairly(set_arena: Arenas) -> None:
    """Every team starts its nightly job at midnight, and a process dies in the middle of it."""
    arena = set_arena(
        rows=_RUNS * _CHUNKS * 10,
        seconds=_SECONDS,
        knobs={"lease_seconds": 60.0, "slice_seconds": 1.0},
    )
    arena.expect(processes.a_killed_child.complaints)
    keys = 3 * _CHUNKS * 10
    runs = [arena.submit(first=n * keys - 500, last=(n + 1) * keys - 501) for n in range(_RUNS)]
    wait_for(lambda: _done(arena) >= _RUNS * _CHUNKS // 3, timeout=300, message="a third")
    lanes = arena.stage.bulk.runtime.database.schema.lanes
    with arena.stage.engine.connect() as connection:
        pid = connection.execute(select(lanes.c.pid)).scalars().first()
    psutil.Process(pid).kill()
    arena.stage.until_succeeded(*runs, timeout=300)
    ended = sorted((row.ended_at, run.id) for run in runs for row in arena.ended(run).values())
    half = Counter(run for _, run in ended[: len(ended) // 2])
    shares = sorted(half[run.id] / _CHUNKS for run in runs)
    told = f"{_RUNS} runs: when half was done each had {shares[0]:.0%} to {shares[-1]:.0%}"
    arena.say(told)
    assert shares[0] >= _LEAST, f"{told}; {shares}"
    arena.judge(version=1)


def _done(arena: Arena) -> int:
    chunks = arena.stage.bulk.runtime.database.schema.chunks
    query = select(func.count()).where(chunks.c.status == "succeeded")
    with arena.stage.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


@fault(leases=1, seconds=12)
def an_older_deploy_is_left_alone(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """The only worker that knows the job is lost, and somebody starts another one."""
    knowing = arena.fleet.of(sight.in_flight[0].worker)
    knowing.kill_all()
    yield {one.pid for one in sight.held}
    run = arena.runs[-1]
    waits = f"no worker on the queue {arena.stage.config.queue!r} has the code of Haul"
    wait_for(lambda: run.progress().waits == waits, message="the run to say why it waits")
    assert run.status() is RunStatus.RUNNING
    arena.fleet.join().until_ready()


@pytest.mark.thorough
def test_an_older_deploy(set_arena: Arenas) -> None:
    """A worker without the job's code leads and gets lanes: beside one that has it, and alone."""
    arena = set_arena(size=0, knobs={"slice_seconds": 1.0})
    # It comes first, so it leads, and asks for lanes that it cannot be itself.
    ignorant = arena.fleet.join(forgets=["Haul"])
    ignorant.until_ready()
    arena.fleet.join().until_ready()
    bout = arena.suffer(an_older_deploy_is_left_alone)
    assert "breakbulk.lane" in ignorant.log(), "lanes came to it"
    assert not arena.stage.attempts(bout.run)
