"""Processes that own an embedded server, to be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

_ROOT = Path(__file__).parents[2]
_PROGRAM = """
import json, sys, threading
from pathlib import Path
from breakbulk import embedded

kind, directory, in_thread = sys.argv[1:]
server = getattr(embedded, kind)(Path(directory))
if in_thread == "True":
    # A server must outlive the thread that started it.
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
else:
    server.start()
print(json.dumps({"url": server.url, "pid": server.pid}), flush=True)
sys.stdin.read()
"""


def descendants(pid: int | None = None) -> set[psutil.Process]:
    """Return the children of a process (default: this one), and theirs."""
    return set(psutil.Process(pid).children(recursive=True))


def family_of(server: int | None) -> set[psutil.Process]:
    """Return the processes of an embedded server: its watchdog, and all below that."""
    assert server is not None
    watchdog = psutil.Process(server).parent()
    assert watchdog is not None
    return {watchdog, *descendants(watchdog.pid)}


class Owner:
    """A process of its own that starts one embedded server and then idles.

    Args:
        kind: name of a class in `breakbulk.embedded`.
        directory: the server's.
        in_thread: start it in a thread that ends.
    """

    def __init__(self, kind: str, directory: Path, *, in_thread: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, kind, str(directory), str(in_thread)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        self.url: str = answer["url"]
        self.server_pid: int = answer["pid"]

    def descendants(self) -> set[psutil.Process]:
        """Return every process below this one."""
        return descendants(self._process.pid)

    def kill(self) -> None:
        """``kill -9`` this process alone."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()
