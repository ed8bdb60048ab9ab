"""Runs one server and makes sure that it does not outlive the process that wanted it.

This file is a program of its own (standard library only, started with ``python -S``), because
nothing inside the owner can end a server after the owner was killed with SIGKILL. It starts
the server as its child and then waits for one of three things:

* the server ends: it ends with the same status;
* a signal: SIGTERM stops the server in the orderly way, SIGQUIT at once;
* its owner is gone: it stops the server, patiently first and then less so.

``PR_SET_PDEATHSIG`` covers the watchdog's own death. It may be used here, and not in the owner,
because it fires when the *thread* that started the server ends, and this program has only one.

The one argument is a JSON object, see :class:`Order`. The server's process id is printed on
standard output, which is then closed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.2
"""How often to look whether the owner is still there."""
_PATIENCE_SECONDS = 8.0
"""How long each way of stopping may take once the owner is gone, before the next harder one."""
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}


class Order(TypedDict):
    """What to run and for whom."""

    owner: int
    """Process id of the owner: the parent of this program for as long as it lives."""
    command: list[str]
    environment: dict[str, str]
    user: int | None
    """Numeric user and group to become before the server starts; None: stay as we are."""
    group: int | None
    fast: int
    """The signal that stops the server in the orderly way, without waiting for clients."""
    immediate: int
    """The signal that stops it at once, as a crash would."""


def start(order: Order) -> subprocess.Popen[bytes]:
    """Start the server with standard output and error going where ours go to (a log)."""
    # Loaded before the fork: between fork and exec as little as possible should happen.
    libc = ctypes.CDLL(None)

    def in_the_child() -> None:
        # Runs after the change of user, which would reset the death signal.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    return subprocess.Popen(
        order["command"],
        env=order["environment"],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        user=order["user"],
        group=order["group"],
        extra_groups=None if order["user"] is None else [],
        preexec_fn=in_the_child,  # noqa: PLW1509  (safe: this program has a single thread)
    )


def watch(server: subprocess.Popen[bytes], order: Order) -> int:
    """Wait for the server's end, passing signals on; return its exit status."""
    harder = iter((order["fast"], order["immediate"], signal.SIGKILL))
    next_step = time.monotonic()
    while True:
        received = signal.sigtimedwait(_WATCHED, _LOOK_SECONDS)
        status = server.poll()
        if status is not None:
            return status
        number = received.si_signo if received is not None else None
        if number == signal.SIGQUIT:
            server.send_signal(order["immediate"])
        elif number in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            server.send_signal(order["fast"])
        elif os.getppid() != order["owner"] and time.monotonic() >= next_step:
            server.send_signal(next(harder, signal.SIGKILL))
            next_step = time.monotonic() + _PATIENCE_SECONDS


def main() -> int:
    """Run the order given as the only argument; exit as the server did."""
    order: Order = json.loads(sys.argv[1])
    # Blocked, so that none gets lost between two calls of sigtimedwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    try:
        server = start(order)
    except OSError as error:
        print(f"cannot run {order['command'][0]}: {error}", file=sys.stderr)
        return 127
    os.write(1, f"{server.pid}\n".encode())
    os.close(1)
    status = watch(server, order)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
