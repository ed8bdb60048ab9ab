"""Workers as processes in sessions of their own, under a supervisor like any other in production.

A worker whose main process has ended is started anew two seconds later, under its old name, as
systemd does with ``Restart=always`` and ``RestartSec=2``; what it left behind is killed first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).parents[2]
RESTART_SECONDS = 2.0
_START_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_LOG_LINES = 40
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass
class Worker:
    """One worker.

    Attributes:
        name: it keeps it when it is started anew.
        command: what is run.
        log: where its output goes.
        starts: how often it was started.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    starts: int = 0
    _process: subprocess.Popen[bytes] = field(init=False)
    _ended: float | None = None

    def start(self) -> None:
        """Start it; does not wait until it is ready."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_owner,  # noqa: PLW1509  (one system call, no lock)
            )
        self.starts += 1
        self._ended = None

    @property
    def pid(self) -> int:
        """Process id of its main process, and the id of its session."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it has said that it is ready."""
        return b"ready." in self.log.read_bytes()

    @property
    def running(self) -> bool:
        """Whether its main process is there."""
        return self._process.poll() is None

    def family(self) -> list[psutil.Process]:
        """Return all of its processes, those that have lost their parent included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.pid:
                    found.append(process)
        return found

    def terminate(self) -> None:
        """Ask the main process to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End all of its processes, stopped ones, too."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def tend(self) -> None:
        """Start it anew if it has ended two seconds ago."""
        if self.running:
            return
        now = time.monotonic()
        if self._ended is None:
            self._ended = now
        elif now - self._ended >= RESTART_SECONDS:
            self.kill()
            self.start()

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


class Crew:
    """Some workers, as a context manager that leaves no process behind."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    def start(self) -> None:
        """Start all workers and wait until they are ready.

        Raises:
            RuntimeError: one of them ended, or took too long.
        """
        for worker in self.workers:
            worker.start()
        deadline = time.monotonic() + _START_SECONDS
        while not all(worker.ready for worker in self.workers):
            for worker in self.workers:
                if not worker.running or time.monotonic() > deadline:
                    raise RuntimeError(f"{worker.name} did not start:\n{worker.last_lines()}")
            time.sleep(_LOOK_SECONDS)

    def tend(self) -> None:
        """Do what a supervisor does; called again and again."""
        for worker in self.workers:
            worker.tend()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.starts:
                worker.kill()


def _end_with_owner() -> None:
    """In a new process: die when the bench does, even if that is killed itself."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
