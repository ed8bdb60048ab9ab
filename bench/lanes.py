"""Where the curve bends: 2 to 256 lanes whose chunks work by waiting, on the real ledger."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from sqlalchemy import text

from bench import crowd
from bench.cpu import cpu_seconds, postmaster
from bench.figures import Findings
from bench.stage import ROOT, Stage
from breakbulk.ledger.workers import Worker
from breakbulk.runner.steward import Steward

LANES: tuple[int, ...] = (2, 16, 64, 256)
PAIRS = 1
WAIT = 0.5
"""Seconds that a chunk takes."""
SECONDS = 12.0
"""How long a run takes if nothing stands in the way."""
MOST = 1000
"""Lanes that are told of on paper."""

_LANES_A_PROCESS = 32
_LOOK_SECONDS = 0.05
_TICK_SECONDS = 0.5
_PATIENCE = 300.0
#: Of the chunks in the order of their ends; lanes come one after the other, and so they leave.
_MIDDLE = "BETWEEN 0.25 AND 0.75"


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many lanes took.

    Attributes:
        efficiency: chunks/s in the middle of the run, against lanes / seconds of a chunk.
        rate: chunks/s in the middle of the run.
        cpu: CPU milliseconds of lanes and PostgreSQL a chunk.
        commits: transactions a chunk.
        waiting: sessions that waited for a lock, on average.
        memory: MB of PostgreSQL's that each of its sessions had for itself.
        carving: of the sessions that waited, those that did for the carve row.
        tick: milliseconds that a steward took to look around, in the middle.
    """

    efficiency: float
    rate: float
    cpu: float
    commits: float
    waiting: float
    memory: float
    carving: float
    tick: float


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure each number of lanes, one after the other."""
    found = Findings(
        "lanes",
        f"lanes in threads, on the real ledger, whose chunks wait for {WAIT} s and change nothing;"
        " each has a session of its own",
    )
    numbers = stage.lanes or (LANES[:2] if stage.quick else LANES)
    costs: dict[int, list[Cost]] = {lanes: [] for lanes in numbers}
    for _ in range(pairs or PAIRS):
        for lanes in numbers:
            costs[lanes].append(_run(stage, lanes))
    for lanes, each in costs.items():
        name = f"{lanes} lanes"
        found.add(f"{name}: of what they could do", "", [one.efficiency for one in each])
        found.add(f"{name}: chunks", "/s", [one.rate for one in each])
        found.add(f"{name}: CPU a chunk", "ms", [one.cpu for one in each])
        found.add(f"{name}: transactions a chunk", "", [one.commits for one in each])
        found.add(f"{name}: sessions that wait for a lock", "", [one.waiting for one in each])
        found.add(f"{name}: of them for the carve row", "", [one.carving for one in each])
        found.add(f"{name}: a steward's look around", "ms", [one.tick for one in each])
        found.add(f"{name}: memory of a session", "MB", [one.memory for one in each])
    found.lines(
        "rate",
        title=f"Lanes whose chunks take {WAIT} s",
        x="lanes",
        y="chunks/s",
        series={
            "as measured": [(n, c.rate) for n, each in costs.items() for c in each],
            "if nothing stood in the way": [(n, n / WAIT) for n in numbers],
        },
    )
    most = costs[numbers[-1]][-1]
    cores = (os.cpu_count() or 1) * 1000 / most.cpu
    found.notes.append(
        f"on paper: {MOST:,} lanes have {MOST:,} sessions, {MOST * most.memory / 1024:.1f} GB; at"
        f" {most.cpu:.2f} ms of CPU a chunk, client and server together, {os.cpu_count()} cores"
        f" end at {cores:,.0f} chunks/s: {MOST:,} lanes need chunks of {MOST / cores:.1f} s or more"
        " here, or more cores"
    )
    return found


def _run(stage: Stage, lanes: int) -> Cost:
    chunks = int(lanes * (SECONDS / 6 if stage.quick else SECONDS) / WAIT)
    rows = chunks * crowd.ROWS_A_CHUNK
    stage.narrow(rows)
    server, ticks = postmaster(stage.url), list[float]()
    with ExitStack() as stack:
        processes: list[psutil.Process] = []
        for count in _shares(lanes):
            worker = stack.enter_context(crew(count, ticks))
            processes += stack.enter_context(at_work(stage, worker, count))
        _until_connected(stage, lanes)
        before = _cpu(processes) + cpu_seconds(server), _commits(stage)
        ticks.clear()
        with _LockWatch(stage) as watch:
            # mypy sees no parameters where the decorator is a method.
            job = crowd.Wait(rows=rows, seconds=WAIT)  # type: ignore[call-arg]
            run = crowd.bulk.submit(job, overlap="allow")
            run.wait(timeout=_PATIENCE).raise_for_status()
            memory = _memory(server)
        after = _cpu(processes) + cpu_seconds(server), _commits(stage)
    cpu, commits = (end - start for start, end in zip(before, after, strict=True))
    rate = float(
        stage.ask(
            "SELECT (count(*) - 1) / extract(epoch FROM max(ended_at) - min(ended_at)) FROM ("
            " SELECT ended_at, percent_rank() OVER (ORDER BY ended_at) AS place"
            f" FROM breakbulk.chunks WHERE run_id = :run) AS ends WHERE place {_MIDDLE}",
            run=run.id,
        )
    )
    return Cost(
        efficiency=rate * WAIT / lanes,
        rate=rate,
        cpu=cpu * 1000 / chunks,
        commits=commits / chunks,
        waiting=watch.average(watch.all),
        memory=memory,
        carving=watch.average(watch.carving),
        tick=statistics.median(ticks) * 1000,
    )


def _shares(lanes: int) -> list[int]:
    """How many lanes each worker has: one process each, with a steward of its own."""
    firsts = range(0, lanes, _LANES_A_PROCESS)
    return [min(_LANES_A_PROCESS, lanes - first) for first in firsts]


@contextmanager
def crew(lanes: int, ticks: list[float] | None = None) -> Iterator[Worker]:
    """A worker with so many slots and a steward, in this process.

    Args:
        ticks: the seconds of each look around are put there.
    """
    worker = Worker(
        id=uuid4(),
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=lanes,
        pool="threads",
        queues=(crowd.QUEUE,),
        jobs=tuple(crowd.bulk.runtime.jobs.all()),
        version="",
    )
    steward = Steward(
        crowd.bulk.runtime,
        lambda: worker,
        alive=lambda _lane: True,
        send=lambda _queue, _count, _until: True,
        free=lambda: False,
        work_without_broker=lambda _queue: None,
    )
    over = threading.Event()
    with crowd.bulk.runtime.database.connect() as connection:
        steward.tick(connection)

    def housekeep() -> None:
        with crowd.bulk.runtime.database.connect_apart() as connection:
            while not over.wait(_TICK_SECONDS):
                began = time.perf_counter()
                steward.tick(connection)
                if ticks is not None:
                    ticks.append(time.perf_counter() - began)
            steward.leave(connection)

    keeper = threading.Thread(target=housekeep)
    keeper.start()
    try:
        yield worker
    finally:
        over.set()
        keeper.join()


@contextmanager
def at_work(
    stage: Stage, worker: Worker, lanes: int, **environment: str
) -> Iterator[list[psutil.Process]]:
    """So many lanes in processes of their own; ``environment`` is what these get besides."""
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        for first in range(0, lanes, _LANES_A_PROCESS):
            count = min(_LANES_A_PROCESS, lanes - first)
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.crowd", str(worker.id)],
                cwd=ROOT,
                env={**stage.environment, crowd.LANES: str(count), **environment},
                stdin=subprocess.PIPE,
            )
            processes.append(stack.enter_context(process))
        _until_connected(stage, lanes)
        try:
            yield [psutil.Process(process.pid) for process in processes]
        finally:
            for process in processes:
                assert process.stdin is not None
                process.stdin.close()


def _until_connected(stage: Stage, lanes: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    while stage.ask(query) < lanes:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{lanes} lanes have not come.")
        time.sleep(_LOOK_SECONDS)


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(cpu_seconds(process) for process in processes)


def _commits(stage: Stage) -> int:
    stage.run("SELECT pg_stat_force_next_flush()")
    return int(
        stage.ask(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database"
            " WHERE datname = current_database()"
        )
    )


def _memory(server: psutil.Process) -> float:
    """MB that a session has for itself, on average."""
    sizes = []
    for process in server.children():
        rollup = Path(f"/proc/{process.pid}/smaps_rollup")
        try:
            lines = rollup.read_text("ascii").splitlines() if "idle" in _title(process) else []
        except OSError:
            continue
        own = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
        if own:
            sizes.append(sum(own) / 1024)
    return sum(sizes) / len(sizes) if sizes else 0.0


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


class _LockWatch:
    """Counts again and again how many sessions wait for a lock, and how many for the carve row."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.all: list[int] = []
        self.carving: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @staticmethod
    def average(seen: list[int]) -> float:
        """How many they were."""
        return sum(seen) / len(seen) if seen else 0.0

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        query = text(
            "SELECT count(*), count(*) FILTER (WHERE query LIKE '%carves%FOR NO KEY UPDATE%')"
            " FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with self._stage.engine.connect() as connection:
            while not self._over.wait(_LOOK_SECONDS):
                waiting, carving = connection.execute(query).one()
                self.all.append(int(waiting))
                self.carving.append(int(carving))
                connection.rollback()
