"""Real Celery workers, as processes of their own that a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support import failpoints
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.nursery import Forked, Nursery

_ROOT = Path(__file__).parents[2]
_CLOCKS = Path(__file__).parent / "clocks"
_LOG_LINES = 200
#: Those that change nothing in what was imported before them.
_FORKED_POOLS = ("prefork", "solo", "threads")


def with_clock_off(seconds: float) -> dict[str, str]:
    """The environment of a worker whose clock is off by so much."""
    paths = os.pathsep.join([str(_CLOCKS), str(_ROOT)])
    return {"PYTHONPATH": paths, "CLOCK_IS_OFF_BY": str(seconds)}


class Worker:
    """A ``celery worker`` that was started for one test, in a session of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes] | Forked, log: Path) -> None:
        self.name = name
        """Node name, as Celery knows it."""
        self.pid = process.pid
        """Process id of the worker's main process."""
        self._process = process
        self._log = log

    @property
    def running(self) -> bool:
        """Whether the main process is there."""
        return self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether the main process is stopped."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def until_ready(self) -> None:
        """Wait until it takes messages."""
        wait_for(
            lambda: " ready." in self.log() or not self.running,
            message=f"{self.name} to be ready",
        )
        assert self.running, f"{self.name} ended while it started:\n{self.last_lines()}"

    def children(self) -> list[psutil.Process]:
        """Return the processes of the pool (for prefork: one for each slot)."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def family(self) -> list[psutil.Process]:
        """Return what lives of the worker, including children that lost their parent."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.pid and not _is_dead(process):
                    found.append(process)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """``kill -9`` the main process, and nothing else."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def kill_all(self) -> None:
        """``kill -9`` every process of the worker at once, as when its machine is lost."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        wait_for(lambda: not self.family(), message=f"the end of {self.name}")

    def terminate(self) -> None:
        """Ask for a warm shutdown (SIGTERM); does not wait, see `wait`."""
        self.send(signal.SIGTERM)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until the main process has ended; return its exit status.

        Raises:
            subprocess.TimeoutExpired: after ``timeout`` seconds.
        """
        return self._process.wait(timeout)

    def log(self) -> str:
        """Return everything the worker has logged or printed."""
        return self._log.read_text(errors="replace")

    def last_lines(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log().splitlines()[-_LOG_LINES:])


def _is_dead(process: psutil.Process) -> bool:
    # Orphans wait to be reaped by process 1, which in a container may never do it.
    return process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


class WorkerFactory:
    """Starts workers; the fixture ``start_worker``.

    Args:
        directory: where the workers start and where their logs go.
        nursery: where workers are forked that need not be started anew.
    """

    def __init__(self, directory: Path, nursery: Nursery | None = None) -> None:
        self._directory = directory
        self._nursery = nursery
        self.workers: list[Worker] = []

    def __call__(
        self,
        app_target: str,
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        extra_args: Sequence[str] = (),
        ready: bool = True,
        failpoint: failpoints.Failpoint | failpoints.Snares | None = None,
        within: Sequence[str] = (),
    ) -> Worker:
        """Start ``celery -A app_target worker`` and wait until it is ready.

        Args:
            app_target: as for ``-A``; modules are found in ``cwd`` and in the checkout.
            pool: Celery's pool.
            concurrency: slots.
            queues: which to consume; None: the application's default.
            env: added to our own environment.
            cwd: working directory, by default the test's ``tmp_path``.
            extra_args: more arguments of ``celery worker``.
            ready: False: return at once, for a worker that is expected to refuse.
            failpoint: where its processes are to be struck.
            within: program that becomes the worker, such as ``nsenter``.
        """
        number = len(self.workers) + 1
        name = f"worker{number}-{os.getpid()}@localhost"
        log = self._directory / f"worker{number}.log"
        # Not ``-m celery``, which could not start anew on SIGHUP.
        celery = [str(Path(sys.executable).with_name("celery"))]
        program = celery if failpoint is None else ["-c", failpoints.PROGRAM]
        command = [
            *(*program, "-A", app_target, "worker"),
            *("--hostname", name, "--pool", pool, "--concurrency", str(concurrency)),
            # Talk among workers that no test is about; it costs a second at each start.
            *("--loglevel", "INFO", "--without-mingle", "--without-gossip"),
            *(("--queues", ",".join(queues)) if queues else ()),
            *extra_args,
        ]
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
            **(failpoint.environment() if failpoint else {}),
        }
        where = cwd or self._directory
        # What is read before the first line, or takes the place of a module, asks for a new start.
        usual = not within and failpoint is None and "PYTHONPATH" not in (env or {})
        process: subprocess.Popen[bytes] | Forked
        with log.open("wb") as output:
            if self._nursery is not None and usual and pool in _FORKED_POOLS:
                process = self._nursery.start(
                    command, cwd=where, env=environment, output=output.fileno()
                )
            else:
                process = subprocess.Popen(
                    [*within, sys.executable, *command],
                    cwd=where,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        worker = Worker(name, process, log)
        self.workers.append(worker)
        if ready:
            worker.until_ready()
        return worker

    def close(self) -> None:
        """Kill every process of every worker, and make sure."""
        for worker in self.workers:
            worker.kill_all()
