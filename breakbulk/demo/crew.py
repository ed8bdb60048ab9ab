"""The demo's Celery workers: real processes, replaced when they die, gone when the demo ends.

``--workers 2`` means two ``celery worker`` processes with a pool of one each, not one with a pool
of two: that is how several machines look like to Breakbulk, and killing one of them takes a
whole worker away, steward and all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import breakbulk
from breakbulk.demo import lifeline
from breakbulk.errors import ConfigurationError

_APP = "breakbulk.demo.shop.celery"
_STOP_SECONDS = 8.0
_POLL_SECONDS = 0.02
_STARTING_SECONDS = 15.0
_MOST_FALSE_STARTS = 3


@dataclass(frozen=True, slots=True)
class Worker:
    """One Celery worker.

    Attributes:
        number: from 1.
        process: its main process, which leads a process group (and session) of its own.
        log: everything it says.
        started: by the monotonic clock.
    """

    number: int
    process: subprocess.Popen[bytes]
    log: Path
    started: float

    @property
    def ended(self) -> bool:
        """Whether the main process has ended. It is not reaped, so its ids stay reserved."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def bury(self) -> int:
        """Kill what is left of the process group; how the main process ended.

        As a service manager does: a pool process whose worker is gone is nobody's.
        """
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


@dataclass(frozen=True, slots=True)
class Replacement:
    """A worker that ended, and who took its place.

    Attributes:
        status: negative: the signal that killed it.
    """

    lost: Worker
    status: int
    successor: Worker

    @property
    def cause(self) -> str:
        """How it ended, for people."""
        if self.status < 0:
            return f"was killed by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"


class Crew:
    """Starts, replaces and stops the workers.

    Args:
        home: where their logs go, and where they run: never where the demo was called, whose
            files Python would take for modules.
        file: the shop's ``.ini``.
        size: how many.
    """

    def __init__(self, home: Path, file: Path, size: int) -> None:
        self._home = home
        self._file = file
        self._size = size
        self._workers: list[Worker] = []
        self._false_starts = 0
        # The workers' end and ours.
        self._lifeline = list(os.pipe())
        self._scratch = home / "workers"
        self._scratch.mkdir(mode=0o700, exist_ok=True)

    @property
    def pids(self) -> list[int]:
        """The main processes."""
        return [worker.process.pid for worker in self._workers]

    def start(self) -> None:
        """Start all of them; they get ready by themselves."""
        for number in range(1, self._size + 1):
            self._workers.append(self._launch(number))

    def mind(self) -> Iterator[Replacement]:
        """Replace whoever has ended.

        Raises:
            ConfigurationError: they end by themselves each time, as soon as they start.
        """
        for place_, worker in enumerate(self._workers):
            if not worker.ended:
                continue
            status = worker.bury()
            lived = time.monotonic() - worker.started
            false_start = status > 0 and lived < _STARTING_SECONDS
            self._false_starts = self._false_starts + 1 if false_start else 0
            if self._false_starts >= _MOST_FALSE_STARTS:
                del self._workers[place_]
                raise ConfigurationError(
                    f"The demo's Celery workers end as soon as they start: {_last_line(worker.log)}"
                    f" (see {worker.log}; keep it with --keep)."
                )
            self._workers[place_] = self._launch(worker.number)
            yield Replacement(worker, status, self._workers[place_])

    def stop(self) -> None:
        """Let them finish the chunk in hand and sign off, and wait until all are gone.

        No more can be started then.
        """
        for worker in self._workers:
            os.kill(worker.process.pid, signal.SIGTERM)
        end = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            while not worker.ended and time.monotonic() < end:
                time.sleep(_POLL_SECONDS)
            worker.bury()
        self._workers.clear()
        while self._lifeline:
            os.close(self._lifeline.pop())
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _launch(self, number: int) -> Worker:
        log = self._home / f"worker{number}.log"
        command = [*command_of(self._file), "--hostname", f"worker{number}@%h"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self._home,
                env=environment(self._scratch, self._lifeline[0]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=self._lifeline[:1],
                # A Ctrl-C in the terminal reaches the demo alone, which stops them in order.
                start_new_session=True,
            )
        return Worker(number, process, log, time.monotonic())


def command_of(file: Path) -> list[str]:
    """What starts a worker of one process, but for its name.

    Args:
        file: the shop's ``.ini``.
    """
    return [
        *(sys.executable, "-m", "celery", "--app", _APP, "worker"),
        *("--ini", str(file), "--concurrency", "1"),
        *("--loglevel", "INFO", "--include", lifeline.__name__),
        # Talk among workers that nobody needs here; it costs a second at each start.
        *("--without-mingle", "--without-gossip"),
    ]


def environment(scratch: Path, line: int) -> dict[str, str]:
    """What workers find in their environment.

    Args:
        scratch: for what they leave behind when they are killed.
        line: the workers' end of the lifeline.
    """
    found = {**os.environ, "TMPDIR": str(scratch), lifeline.VARIABLE: str(line)}
    paths = [path for path in found.get("PYTHONPATH", "").split(os.pathsep) if path]
    ours = Path(breakbulk.__file__).parents[1]
    if ours.name not in {"site-packages", "dist-packages"}:
        paths.insert(0, str(ours))  # a checkout that is not installed
    if paths:
        # Absolute, because they run elsewhere.
        found["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths))
    return found


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "they said nothing"
