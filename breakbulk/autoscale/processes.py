"""Nodes that are worker processes on this machine.

They are nobody's children for long: each leads a session of its own, so that neither a Ctrl-C nor
the death of the controller reaches them. What makes a process one of ours is a mark in its
environment; whoever scales the same group next finds them by it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

from breakbulk.autoscale.provider import Node
from breakbulk.domain.backlog import QueueBacklog
from breakbulk.errors import ConfigurationError, ProviderRefused
from breakbulk.runner.runtime import process_started

MARK = "BREAKBULK_AUTOSCALED"
_PAUSE = 0.05
_NAMES = ("-n", "--hostname")


class Processes:
    """Worker processes on this machine.

    Args:
        command: what starts a worker, as in ``["celery", "-A", "shop", "worker", "-c", "1"]``. It
            gets a name of its own unless it has one.
        group: tells these processes from those of other controllers.
        logs: directory for what they say; default one of this user in the system's temporary one.
        directory: where they run; default here.
        environment: theirs; default ours.
        pass_fds: descriptors of ours that they are to have.

    Raises:
        ConfigurationError: there is no place for their logs.
    """

    scales = True
    replaces = False

    def __init__(
        self,
        command: Sequence[str],
        *,
        group: str,
        logs: Path | None = None,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._command = list(command)
        self._host = socket.gethostname()
        self._directory = directory
        self._environment = environment
        self._pass_fds = tuple(pass_fds)
        self.name = f"{group} on {self._host}"
        self.logs = logs or Path(tempfile.gettempdir()) / f"breakbulk-nodes-{os.getuid()}"
        try:
            self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"There is no place for the workers' logs ({error}): give another --logs."
            ) from error
        if logs is None and self.logs.stat().st_uid != os.getuid():
            raise ConfigurationError(f"{self.logs} is somebody else's: give another --logs.")
        #: Those that this process has started and has to bury.
        self._children: list[subprocess.Popen[bytes]] = []
        #: Those that were asked to stop.
        self._stopping: set[str] = set()

    def nodes(self) -> list[Node]:
        """Processes of this group that are there."""
        return [
            Node(one, self._host, process.pid)
            for one, process in self._processes().items()
            if one not in self._stopping
        ]

    def size(self) -> int:
        """How many there are."""
        return len(self.nodes())

    def grow(self, size: int) -> int:
        """Start as many as are missing; how many that were."""
        missing = max(size - self.size(), 0)
        for _ in range(missing):
            self._start()
        return missing

    def forgo(self, size: int) -> None:
        """Nothing: whoever is started is there."""

    def shrink(self, nodes: Sequence[Node]) -> None:
        """Let these end after the chunks in hand, as Celery's warm shutdown does."""
        found = self._processes()
        for node in nodes:
            self._stopping.add(node.id)
            # A process that is gone by now, or another one of its number, gets nothing.
            with suppress(psutil.Error):
                if node.id in found:
                    found[node.id].send_signal(signal.SIGTERM)

    def tend(self, busy: Collection[Node], signal: Sequence[QueueBacklog]) -> None:
        """Nothing: nobody else stops them."""

    def drain(self, seconds: float | None = None) -> bool:
        """Stop all, and wait until they are gone; False when some are not, after that long."""
        self.shrink(self.nodes())
        until = None if seconds is None else time.monotonic() + seconds
        while self._processes():
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(_PAUSE)
        return True

    def kill(self) -> None:
        """End all at once, with their children; the chunks in hand are rolled back."""
        for process in self._processes().values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for child in self._children:
            child.wait()

    def _start(self) -> None:
        name = f"node-{uuid4().hex[:8]}"
        command = self._command
        if not any(part.split("=")[0] in _NAMES for part in command):
            command = [*command, "-n", f"{name}@%h"]
        with (self.logs / f"{name}.log").open("ab") as log:
            try:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=self._directory,
                    env={**(self._environment or os.environ), MARK: self.name},
                    pass_fds=self._pass_fds,
                )
            except OSError as error:
                raise ProviderRefused(
                    f"{command[0]} cannot be started ({error.strerror or error}): check --worker."
                ) from error
        self._children.append(child)

    def _processes(self) -> dict[str, psutil.Process]:
        """Those of this group, by what nobody else is called; the oldest first."""
        self._children = [child for child in self._children if child.poll() is None]
        found: dict[str, psutil.Process] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                # Its children have the mark, too; it alone leads their session.
                if (
                    os.getsid(process.pid) != process.pid
                    or process.environ().get(MARK) != self.name
                ):
                    continue
                started = process_started(process.pid)
                if started is not None:
                    found[f"{process.pid}-{started:.2f}"] = process
        return dict(sorted(found.items(), key=lambda one: float(one[0].rpartition("-")[2])))
