"""``breakbulk demo`` in a process of its own, as somebody looks on or nobody does."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.support.owners import descendants
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = [sys.executable, "-m", "breakbulk", "demo"]
_ROOT = Path(__file__).parents[2]
_PATIENCE = 120.0


class Demo:
    """A demo in a process of its own, on a terminal or in a pipe.

    Args:
        command: program and arguments.
        directory: where it is called.
        terminal: whether somebody looks on.
    """

    def __init__(self, command: list[str], directory: Path, *, terminal: bool) -> None:
        self.directory = directory
        ours, theirs = pty.openpty() if terminal else os.pipe()

        def take_terminal() -> None:
            if terminal:
                fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": str(directory)},
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509  (a system call and no more)
        )
        os.close(theirs)
        self.output = ""
        self._end = ours
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def await_output(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches."""

        def matches() -> re.Match[str] | None:
            assert self.running or re.search(pattern, self.output), self.output
            return re.search(pattern, self.output)

        found = wait_for(matches, timeout=_PATIENCE, message=f"the output {pattern!r}")
        assert found is not None
        return found

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def family(self) -> set[psutil.Process]:
        """Every process that belongs to it."""
        return descendants(self.process.pid)

    def press_ctrl_c(self) -> None:
        os.write(self._end, b"\x03")

    def wait(self) -> int:
        return self.process.wait(_PATIENCE)

    def close(self) -> None:
        family = self.family() if self.running else set()
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._end)
        wait_for(lambda: not living(family), message="the demo's processes to end")

    def _read(self) -> None:
        with suppress(OSError):  # how a terminal says that nobody is there any more
            while piece := os.read(self._end, 65_536):
                self.output += piece.decode(errors="replace").replace("\r\n", "\n")


def living(family: set[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; zombies are left to whoever started them."""
    found = []
    for process in family:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def demo(directory: Path, *options: str, terminal: bool = False) -> Iterator[Demo]:
    """Start one with these options; at the end nothing of it is left."""
    started = Demo([*DEMO, *options], directory, terminal=terminal)
    try:
        yield started
    finally:
        started.close()


def documents(output: str) -> list[dict[str, Any]]:
    """What it tells programs."""
    return [json.loads(line) for line in output.splitlines()]
