"""A network namespace: a machine of its own, as far as the network knows, on one cable to ours.

It belongs to a process that ends when its standard input does, and with its last process the
kernel takes namespace and cable away. So nothing is left, however the tests end.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.servers import missing
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROGRAMS = ("unshare", "nsenter", "ip")


class Namespace:
    """Somewhere else.

    Args:
        pid: of a process that is there.
        cable: our end of it.
        address: ours, on the cable.
    """

    def __init__(self, pid: int, cable: str, address: str) -> None:
        self.address = address
        #: Becomes a program that runs there.
        self.within = ("nsenter", "--target", str(pid), "--net", "--")
        self._cable = cable

    def cut(self) -> None:
        """Pull the cable: nothing gets through, and nobody is told."""
        _run("ip", "link", "set", self._cable, "down")

    def mend(self) -> None:
        """Put it in again."""
        _run("ip", "link", "set", self._cable, "up")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make one; skip the test, or fail it, where nobody may."""
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            missing(
                "netns", f"there is no program {program}; Debian has it in iproute2 or util-linux."
            )
    if os.geteuid() != 0:
        missing("netns", "only root may make a network namespace.")
    holder = subprocess.Popen(
        ["unshare", "--net", "--", "cat"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_for(
            lambda: holder.poll() is not None or _apart(holder.pid), message="the namespace to be"
        )
        if holder.poll() is not None:
            assert holder.stderr is not None
            missing("netns", f"unshare says: {holder.stderr.read().decode().strip()}")
        yield _wired(holder.pid)
    finally:
        holder.communicate()


def _apart(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def _wired(pid: int) -> Namespace:
    name = secrets.token_hex(4)
    ours, theirs = f"bb-{name}-0", f"bb-{name}-1"
    dice = random.SystemRandom()
    network = f"10.{dice.randrange(200, 250)}.{dice.randrange(256)}"
    there = Namespace(pid, ours, f"{network}.1")
    _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", str(pid))
    _run("ip", "address", "add", f"{network}.1/30", "dev", ours)
    _run("ip", "link", "set", ours, "up")
    _run(*there.within, "ip", "address", "add", f"{network}.2/30", "dev", theirs)
    _run(*there.within, "ip", "link", "set", theirs, "up")
    _run(*there.within, "ip", "link", "set", "lo", "up")
    return there


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
