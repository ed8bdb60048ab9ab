"""Processes that are killed, frozen, or shut down in all the ways that Celery knows."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
from sqlalchemy import text

from tests.support.fault import fault
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.sight import Sight
    from tests.support.workers import Worker

#: Seconds that a chunk may take where one of its processes is to be frozen.
CHUNK_TIMEOUT = 4.0
#: What Celery itself says in a worker's log of a process of its pool that was killed.
_KILLED = ("WorkerLostError", "Process 'ForkPoolWorker")
#: Sessions that hold locks on rows: their chunk has been written, and not yet committed.
_WRITTEN = """
    SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE relation = 'products'::regclass AND mode = 'RowExclusiveLock'
"""


def _victim(arena: Arena, sight: Sight) -> tuple[Worker, set[int]]:
    """A worker that is at work, and the processes of its lanes."""
    worker = arena.fleet.of(arena.dice.choice(sight.in_flight).worker)
    return worker, {one.pid for one in sight.held if one.worker == worker.pid}


@fault(complaints=_KILLED)
def a_killed_child(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """``kill -9`` one process of a pool that is at a chunk."""
    victim = arena.dice.choice(sight.in_flight)
    psutil.Process(victim.pid).kill()
    yield {victim.pid}


@fault(complaints=_KILLED)
def a_death_in_commit(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """A process dies when its COMMIT is on the wire, so nobody hears the answer."""
    yield {arena.order("die in commit")}


@fault(leases=1)
def a_killed_worker(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """``kill -9`` all processes of a worker at once, as when its machine is lost."""
    victim, pids = _victim(arena, sight)
    victim.kill_all()
    yield pids


@fault(leases=1)
def a_killed_leader(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """``kill -9`` all processes of the worker whose steward leads."""
    leader = arena.until(arena.roster.leader, message="somebody to lead") or 0
    if leader not in arena.struck:
        arena.fleet.of(leader).kill_all()
    yield {one.pid for one in sight.held if one.worker == leader}


@fault(leases=1)
def a_killed_main_process(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """``kill -9`` a worker's main process alone: its children are at their chunks still."""
    victim, pids = _victim(arena, sight)
    victim.kill()
    yield pids
    arena.until_gone(pids)
    wait_for(lambda: not victim.family(), message=f"the children of {victim.name} to end")


@fault()
def a_warm_shutdown(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGTERM: what is in hand is to be done, and nothing else begun."""
    victim, pids = _victim(arena, sight)
    victim.terminate()
    yield pids
    arena.until_gone(pids)
    assert victim.wait() == 0, victim.last_lines()


@fault()
def a_cold_shutdown(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGQUIT: the children are ended wherever they are."""
    victim, pids = _victim(arena, sight)
    victim.send(signal.SIGQUIT)
    yield pids
    arena.until_gone(pids)
    victim.wait()


@fault()
def a_restart(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGHUP: the worker starts anew in the same process, with the code that is there now."""
    victim, pids = _victim(arena, sight)
    starts = victim.log().count(" ready.")
    victim.send(signal.SIGHUP)
    yield pids
    arena.until_gone(pids)
    wait_for(lambda: victim.log().count(" ready.") > starts, message=f"{victim.name} to be back")


@fault(leases=1)
def a_frozen_worker(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGSTOP, as when a virtual machine is moved, and SIGCONT when its lease is long over."""
    victim, pids = _victim(arena, sight)
    frozen = victim.family()
    told = victim.log().count("taken off the list")
    for process in frozen:
        process.suspend()
    yield pids
    arena.until_gone(pids)
    arena.until(lambda: not arena.roster.listed(victim.pid), message="it to be off the list")
    for process in frozen:
        process.resume()
    wait_for(
        # In a mix its broker may have gone meanwhile, which may end it: see brokers.py.
        lambda: (
            victim.log().count("taken off the list") > told or not (arena.alone or victim.running)
        ),
        message=f"{victim.name} to find out",
    )


@fault(leases=1)
def a_worker_frozen_for_good(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGSTOP after a chunk's UPDATE and before its COMMIT, and nothing ever wakes it."""
    victim, pids = _victim(arena, sight)
    frozen = victim.family()

    def caught() -> bool:
        for process in frozen:
            process.suspend()
        tokens = {f"breakbulk lane {token}" for token in arena.roster.lanes_of(victim.pid)}
        with arena.stage.engine.connect() as connection:
            if tokens & set(connection.execute(text(_WRITTEN)).scalars()):
                return True
        for process in frozen:
            process.resume()
        return False

    run = arena.runs[-1]
    wait_for(
        lambda: caught() or arena.look(run).over,
        message="a chunk to be written and not committed, or the run to end",
    )
    yield pids
    arena.until_gone(pids)
    victim.kill_all()


@fault(leases=1)
def a_frozen_main_process(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGSTOP for the main process alone: its children go on, but their worker is silent."""
    victim, pids = _victim(arena, sight)
    victim.send(signal.SIGSTOP)
    yield pids
    arena.until_gone(pids)
    victim.send(signal.SIGCONT)


@fault(leases=4)
def a_starved_steward(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """C code keeps the interpreter's lock for two leases, at each attempt at one chunk.

    In a pool of threads and in the solo pool it silences the steward, too. Each loss doubles the
    lease, so the second attempt or the third has its time.
    """
    yield {arena.order("hog", again=True, seconds=2 * arena.lease)}


@fault()
def a_recycled_child(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """A process of the pool is replaced after so many tasks, as the team's settings say."""
    before = {one.pid for one in sight.in_flight}
    run = arena.runs[-1]
    wait_for(
        lambda: {one.pid for one in arena.look(run).in_flight} - before,
        message="a process that was not there before to work",
    )
    yield ()


@fault(seconds=CHUNK_TIMEOUT + 2.0, complaints=_KILLED)
def a_frozen_child(arena: Arena, sight: Sight) -> Iterator[Collection[int]]:
    """SIGSTOP for one process of a pool: its worker lives, so only the chunk's own time ends it."""
    victim = arena.dice.choice(sight.in_flight)
    psutil.Process(victim.pid).suspend()
    yield {victim.pid}


@fault(leases=2.0, halts=True)
def frozen_workers(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """SIGSTOP for all workers at once, for more than a lease, and then they all wake up."""
    workers = {worker.pid for worker in arena.fleet.members}
    frozen = [process for worker in arena.fleet.members for process in worker.family()]
    for process in frozen:
        process.suspend()
    yield ()
    wait_for(lambda: not workers & set(arena.roster.in_time()), message="their leases to be over")
    for process in frozen:
        process.resume()


@fault()
def a_new_worker(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """One worker more joins while the work goes on."""
    fresh = arena.fleet.join()
    yield ()
    run = arena.runs[-1]

    def at_work() -> bool:
        sight = arena.look(run)
        return sight.over or any(one.worker == fresh.pid for one in sight.held)

    wait_for(at_work, message="it to get a lane, or the run to end")


ALL = (
    a_killed_child,
    a_death_in_commit,
    a_killed_worker,
    a_killed_leader,
    a_killed_main_process,
    a_warm_shutdown,
    a_cold_shutdown,
    a_restart,
    a_frozen_worker,
    a_worker_frozen_for_good,
    a_frozen_main_process,
    a_new_worker,
    frozen_workers,
)
