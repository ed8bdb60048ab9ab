"""A process that has imported what every worker needs, and from which workers are forked.

Much of what a test waits and pays for is the start of its workers: 1.7 s of CPU each, most of it
imports, half of all those of Celery alone (measured). A forked one is a process as real as any
other, in a session of its own, and runs the program ``celery`` from its first line; only the
imports of others' packages are found done. Workers that are to be different before their first line
are started anew: see `tests.support.workers`.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

_ROOT = Path(__file__).parents[2]
_LONGEST = 1 << 20
_POLL_SECONDS = 0.02
#: Nothing of the package: a worker's main process shares memory with its children, made when a
#: module is imported, and all workers would share it.
_IMPORTED = (
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
)


class Nursery:
    """The process, as those see it who want workers of it."""

    def __init__(self) -> None:
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=_ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: int
    ) -> Forked:
        """Run a Python program in a process of its own, and in a session of its own.

        Args:
            command: its file and its arguments.
            env: the whole environment.
            output: descriptor of what it prints to.
        """
        order = {"command": list(command), "cwd": str(cwd), "env": dict(env)}
        return Forked(self, self._ask(order, output)["pid"])

    def exit_code(self, pid: int) -> int | None:
        """How a process has ended, as `subprocess.Popen.returncode` says it; None if it has not.

        Ask no more once it was told.
        """
        code: int | None = self._ask({"poll": pid})["code"]
        return code

    def close(self) -> None:
        """End it; what it has started goes on."""
        self._door.close()
        self._process.wait()

    def _ask(self, question: dict[str, Any], *files: int) -> dict[str, Any]:
        with self._lock:
            socket.send_fds(self._door, [json.dumps(question).encode()], files)
            answer: dict[str, Any] = json.loads(self._door.recv(_LONGEST))
        return answer


class Forked:
    """A process of a nursery; what tests need of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._code: int | None = None

    def poll(self) -> int | None:
        """How it has ended; None if it has not."""
        if self._code is None:
            self._code = self._nursery.exit_code(self.pid)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; how it has.

        Raises:
            subprocess.TimeoutExpired: it has not, after so many seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if timeout is not None and until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(_POLL_SECONDS)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


@dataclass(frozen=True)
class _Order:
    command: list[str]
    cwd: str
    env: dict[str, str]
    output: int


def main() -> None:
    """Be a nursery, or what one has been asked for."""
    for name in _IMPORTED:
        import_module(name)
    order = _serve(socket.socket(fileno=int(sys.argv[1])))
    if order is not None:
        _become(order)


def _serve(door: socket.socket) -> _Order | None:
    """Fork whatever is asked for; what a child is to become, None at the end."""
    while True:
        message, files, _, _ = socket.recv_fds(door, _LONGEST, 1)
        if not message:
            return None
        asked = json.loads(message)
        if "poll" in asked:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if pid else None
            door.send(json.dumps({"code": code}).encode())
            continue
        pid = os.fork()
        if pid == 0:
            door.close()
            return _Order(**asked, output=files[0])
        os.close(files[0])
        door.send(json.dumps({"pid": pid}).encode())


def _become(order: _Order) -> None:
    os.setsid()
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    time.tzset()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, standard in ((nothing, 0), (order.output, 1), (order.output, 2)):
        os.dup2(ours, standard)
    os.close(nothing)
    os.close(order.output)
    sys.argv[:] = order.command
    given = order.env.get("PYTHONPATH", "").split(os.pathsep)
    first = [str(Path(order.command[0]).parent), *filter(None, given)]
    sys.path[:] = [*first, *(path for path in sys.path[1:] if path not in first)]
    runpy.run_path(order.command[0], run_name="__main__")


if __name__ == "__main__":
    main()
