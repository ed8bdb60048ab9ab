"""One fault in one system: set the scene, strike, wait, and say what is in the tables."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from bench.faults import work
from bench.faults.crew import ROOT, Crew, Worker
from bench.faults.ground import Ground, Verdict
from bench.faults.outcome import Outcome
from bench.faults.proxy import Proxy
from bench.faults.strikes import Fault
from bench.faults.systems import System
from bench.faults.traps import Traps
from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey

WORKERS = 2
SETTLED_SECONDS = 10.0
"""How long nothing may have changed until the trial is over."""
LONGER_SECONDS = 180.0
"""How much longer than asked for a trial may take while rows are still being done."""

_CHUNKS_BEFORE = (40, 60)
_DONE = (0.1, 0.9)
_ROUNDS = 5
_WORK_SECONDS = 300.0
_OFTEN, _SELDOM = 0.03, 0.25
Found = TypeVar("Found")


class MissedStroke(Exception):
    """The fault came too late or too early to say anything."""


class Trial:
    """A fault about to happen: what `strikes` needs.

    Attributes:
        rng: what decides on when and whom.
        note: what the strike wants to have noted.
    """

    def __init__(
        self, system: System, fault: Fault, postgres: EmbeddedPostgres, home: Path, seed: str
    ) -> None:
        self.system, self.fault, self.postgres = system, fault, postgres
        self.rng = random.Random(seed)
        self.note = ""
        self.broker = EmbeddedValkey(home / "valkey")
        self.ground: Ground
        self.crew: Crew
        self.traps: Traps
        self._home = home
        self._proxy: Proxy | None = None
        self._done = 0
        self._submit: subprocess.Popen[bytes] | None = None

    def run(self, seconds: float) -> Outcome:
        """Carry it out.

        Args:
            seconds: how long to wait after the stroke.

        Raises:
            MissedStroke: it is to be repeated.
        """
        with ExitStack() as stack:
            self.ground = stack.enter_context(Ground.made(self.postgres))
            stack.enter_context(self.broker)
            url = self.ground.url
            if self.fault.at_commit is not None:
                self._proxy = Proxy(url, self.fault.at_commit)
                stack.enter_context(self._proxy.running())
                url = self._proxy.url
            environment = self._environment(url)
            _finish(self.system.call("prepare", environment))
            self.crew = stack.enter_context(Crew(self._workers(environment)))
            self._submit = self.system.call("submit", environment)
            stack.callback(self._submit.kill)
            struck = self._strike()
            return self._outcome(struck, *self._watch(struck, seconds))

    def wait_for_trap(self, name: str) -> tuple[float, int]:
        """Wait until a trap was sprung; return when and by which process."""
        return self._wait_for(lambda: self.traps.sprung(name))

    def wait_for_proxy(self) -> float:
        """Wait until the proxy has struck; return when."""
        proxy = self._proxy
        assert proxy is not None
        return self._wait_for(lambda: proxy.struck)

    def worker_of(self, pid: int) -> Worker:
        """Return the worker that a process belongs to."""
        return next(one for one in self.crew.workers if os.getsid(pid) == one.pid)

    def tend_for(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.crew.tend()
            time.sleep(_OFTEN)

    def _environment(self, url: str) -> dict[str, str]:
        row = self.rng.randrange(work.ROWS * 3 // 10, work.ROWS * 6 // 10)
        directory = self._home / "traps"
        directory.mkdir()
        bad_row = row if self.fault.lost_rows else 0
        self.traps = Traps(directory, bad_row, self.fault.deadly)
        path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        return {
            **os.environ,
            work.DATABASE: url,
            work.BROKER: self.broker.url,
            **self.traps.environment(),
            **self.system.variables,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PYTHONUNBUFFERED": "1",
        }

    def _workers(self, environment: dict[str, str]) -> list[Worker]:
        names = [f"worker{number}" for number in range(1, WORKERS + 1)]
        return [
            Worker(name, self.system.command(name), environment, self._home / f"{name}.log")
            for name in names
        ]

    def _strike(self) -> float:
        if not self.fault.late:
            rows = self.rng.randint(*_CHUNKS_BEFORE) * work.CHUNK_SIZE
            self._wait_for(lambda: self._look() >= rows)
            # Somewhere within a chunk, and not right after one.
            time.sleep(self.rng.uniform(0, work.CHUNK_SECONDS))
        struck = self.fault.strike(self)
        share = self._done / work.ROWS
        if self.fault.late:
            if share < 1:
                raise MissedStroke(f"the callback came with {share:.0%} of the rows done")
        elif not _DONE[0] <= share <= _DONE[1]:
            raise MissedStroke(f"it struck when {share:.0%} of the rows were done")
        return struck

    def _watch(self, struck: float, seconds: float) -> tuple[Verdict, bool]:
        """Wait for the end; return what is there then, and whether it took the whole time.

        Whoever is merely slow gets more: rows that are still being done are not missed.
        """
        last: Verdict | None = None
        since = time.time()
        while (waited := time.time() - struck) < seconds + LONGER_SECONDS:
            self.crew.tend()
            time.sleep(_SELDOM)
            now = self.ground.judge()
            if now is None:
                continue
            if now != last:
                last, since = now, time.time()
            elif time.time() - since > SETTLED_SECONDS and (now.callbacks or waited > seconds):
                return now, waited > seconds
        if last is None:
            raise RuntimeError("The database did not come back.")
        return last, True

    def _outcome(self, struck: float, verdict: Verdict, whole: bool) -> Outcome:  # noqa: FBT001
        at = verdict.called_back
        return Outcome(
            system=self.system.name,
            fault=self.fault.name,
            callbacks=verdict.callbacks,
            missed=verdict.missed,
            twice=verdict.twice,
            seconds=None if at is None else round(max(at - struck, 0.0), 1),
            early=verdict.early or 0,
            alarms=verdict.alarms,
            done_before=self._done,
            restarts=sum(worker.starts - 1 for worker in self.crew.workers),
            whole=whole,
            note=self.note,
        )

    def _look(self) -> int:
        verdict = self.ground.judge()
        if verdict is not None:
            self._done = work.ROWS - verdict.missed
        return self._done

    def _wait_for(self, condition: Callable[[], Found | None]) -> Found:
        deadline = time.monotonic() + _WORK_SECONDS
        while not (found := condition()):
            self.crew.tend()
            if self._submit is not None and self._submit.poll() is not None:
                _finish(self._submit)
                self._submit = None
            if time.monotonic() > deadline:
                logs = "\n".join(worker.last_lines() for worker in self.crew.workers)
                raise RuntimeError(f"Nothing to strike at within {_WORK_SECONDS:.0f} s:\n{logs}")
            time.sleep(_OFTEN)
        self._look()
        return found


def carry_out(
    system: System,
    fault: Fault,
    postgres: EmbeddedPostgres,
    home: Path,
    *,
    seed: str,
    seconds: float,
) -> Outcome:
    """Carry out a trial; again, with another seed, when the fault did not strike in time.

    Args:
        home: for logs and the broker; made here.
        seconds: how long to wait after the stroke.
    """
    for number in range(1, _ROUNDS + 1):
        place = home / f"{fault.name}-{system.name}-{number}"
        place.mkdir(parents=True)
        try:
            return Trial(system, fault, postgres, place, f"{seed}/{place.name}").run(seconds)
        except MissedStroke as error:
            print(f"  {fault.name}, {system.name}: once more, for {error}", flush=True)
    raise RuntimeError(f"{fault.name} did not strike {system.name} in time, {_ROUNDS} times.")


def _finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"The application failed:\n{output.decode(errors='replace')}")
