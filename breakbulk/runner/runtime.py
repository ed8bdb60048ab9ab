"""What every use case needs, put together once by the application."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psutil

from breakbulk.domain.run import Run
from breakbulk.errors import SecondDatabase
from breakbulk.jobs import JobSpec, Registry
from breakbulk.ledger import Database, Ledger
from breakbulk.runner.circulation import Circulation
from breakbulk.runner.context import Context, Notify
from breakbulk.runner.deadlines import Deadlines
from breakbulk.runner.vault import Vault
from breakbulk.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """Ledger, data, jobs and settings of one application.

    Attributes:
        ledger: where runs and chunks are written down.
        data: where the rows are; the ledger's own database unless ``at_least_once``.
        jobs: what this process has code for.
        settings: the knobs.
        context: what the application puts around its code.
        notify: who is told of runs that are submitted and that end.
        vault: seals secret parameters.
    """

    ledger: Ledger
    data: Database
    jobs: Registry
    settings: Settings
    context: Context | None = None
    notify: Notify | None = None
    vault: Vault = field(default_factory=Vault)

    def build(self, spec: JobSpec, run: Run) -> Any:
        """A run's job, with the run's parameters.

        Raises:
            ParameterError: they do not fit the job as it is here, or cannot be opened.
            ConfigurationError: one is secret, and there is no key.
        """
        return spec.build(self.vault.open(spec, run.parameters))

    @property
    def database(self) -> Database:
        """The ledger's database."""
        return self.ledger.database

    @property
    def at_least_once(self) -> bool:
        """Whether the rows are in another database, so that no transaction covers both."""
        return self.data is not self.database


def check_data(ledger: Database, data: Database | None, *, at_least_once: bool) -> Database:
    """Which database the rows are in.

    Raises:
        SecondDatabase: it is not the ledger's, and nobody said that at-least-once is all right.
    """
    if data is None:
        return ledger
    if data.identity == ledger.identity:
        return ledger
    if not at_least_once:
        raise SecondDatabase(
            "The data is in another database than the ledger, so a crash between their two"
            " commits would process a chunk twice: put the ledger beside the data, or accept"
            " that with Breakbulk(…, at_least_once=True)."
        )
    return data


@dataclass(frozen=True, slots=True)
class Process:
    """The process a lane runs in, and how it learns that it should stop.

    Attributes:
        worker_id: the Celery worker it belongs to.
        worker_name: for people: the worker as Celery calls it, and the process.
        stopping: True from the moment its worker began to shut down.
        interruptions: what is raised in the middle of anything to stop it, such as a time limit.
        exits: what ends the process although user code has raised it. In a process that is not our
            own, as in eager mode, nobody else can tell whom it was meant for.
        deadlines: where its lanes note until when they may be at a chunk.
        circulation: where they note that they have ended.
    """

    worker_id: UUID
    worker_name: str
    host: str
    pid: int
    started: float
    stopping: Callable[[], bool]
    interruptions: tuple[type[Exception], ...] = ()
    deadlines: Deadlines | None = None
    exits: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)
    circulation: Circulation = field(default_factory=Circulation)

    @classmethod
    def current(
        cls,
        worker_id: UUID | None = None,
        stopping: Callable[[], bool] = lambda: False,
        interruptions: tuple[type[Exception], ...] = (),
        name: str | None = None,
        deadlines: Deadlines | None = None,
        *,
        exits: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit),
        circulation: Circulation | None = None,
    ) -> Process:
        """This process; without a worker it counts as one of its own.

        Args:
            name: what Celery calls the worker.
        """
        pid, host = os.getpid(), socket.gethostname()
        started = process_started(pid) or 0.0
        return cls(
            worker_id or uuid4(),
            f"{name or host}/{pid}",
            host,
            pid,
            started,
            stopping,
            interruptions,
            deadlines,
            exits,
            circulation or Circulation(),
        )

    def at_work(self, lane: UUID, seconds: float | None) -> AbstractContextManager[None]:
        """A lane of this process is at something that may take so long; None: however long."""
        if self.deadlines is None:
            return nullcontext()
        return self.deadlines.at_work(lane, seconds, pid=self.pid, started=self.started)


def process_started(pid: int) -> float | None:
    """When a live process was started, in seconds since the machine was; None when it is dead.

    Not since the epoch: whenever the clock of the machine is set, every process would seem to be
    another one. A zombie is dead: it holds no lock and will never commit.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        while True:
            # Both are worked out with the clock, so it must not be set in between.
            booted = psutil.boot_time()
            started = process.create_time() - booted
            if psutil.boot_time() == booted:
                return started
    except psutil.Error:
        return None


def is_alive(pid: int, started: float) -> bool:
    """Whether a process lives that was started then, and not only another one of its number."""
    now = process_started(pid)
    return now is not None and abs(now - started) < 1.0


@dataclass(slots=True)
class LiveLanes:
    """The lanes that work in this very process, for pools of threads.

    A lane whose process lives may still be over: its sign-off failed with the database. The
    steward of a worker with threads asks here, that of a worker with children looks at them.
    """

    tokens: set[UUID] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, token: UUID) -> None:
        """A lane begins."""
        with self.lock:
            self.tokens.add(token)

    def remove(self, token: UUID) -> None:
        """A lane has ended, whether or not the ledger knows."""
        with self.lock:
            self.tokens.discard(token)

    def __contains__(self, token: UUID) -> bool:
        with self.lock:
            return token in self.tokens


live_lanes = LiveLanes()
