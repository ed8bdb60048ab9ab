"""Failpoints: named places in the package at which a test stops or kills a process.

In the package a failpoint is a comment, ``# failpoint: before commit``. So production has nothing
to pay for and nothing that could be switched on by mistake. A worker that is to die at one is
started by :func:`run` in the place of the program ``celery``: the modules of the package are then
compiled with each such comment replaced by a call.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

_VARIABLE = "FAILPOINT"
_SNARES = "SNARES"
_PACKAGE = "breakbulk"
_ROOT = Path(__file__).parents[2]
_COMMENT = re.compile(r"^(\s*)# failpoint: (.+)$", re.MULTILINE)
_CALL = rf'\1__import__("{__name__}", fromlist=["reach"]).reach("\2")'

#: The program of a worker that has a failpoint, for ``python -c``.
PROGRAM = f"from {__name__} import run; run()"


@dataclass(frozen=True)
class Failpoint:
    """What happens where, once.

    Attributes:
        name: as in the comment.
        directory: notes who has been there; one that no other failpoint uses.
        at: the how-manieth time it is reached, over all processes that know of it.
        signal: what that process sends itself.
    """

    name: str
    directory: str
    at: int = 1
    signal: int = signal.SIGKILL

    def environment(self) -> dict[str, str]:
        """What a worker has to find in its environment."""
        assert self.name in names(), f"there is no failpoint {self.name!r}"
        return {_VARIABLE: json.dumps(asdict(self))}

    def victim(self, timeout: float = 60.0) -> int:
        """Wait until somebody was struck; the process's id."""
        note = self._note
        wait_for(
            lambda: note.exists() and note.read_text().endswith("\n"),
            timeout=timeout,
            message=f"somebody to come to {self.name!r}",
        )
        return int(note.read_text())

    def strike(self) -> None:
        """Note who comes, and strike whoever's turn it is."""
        descriptor = os.open(
            Path(self.directory) / "reached", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )
        try:
            os.write(descriptor, b".")
            # Appending moves the offset to the file's end, so no two processes see the same.
            ordinal = os.lseek(descriptor, 0, os.SEEK_CUR)
        finally:
            os.close(descriptor)
        if ordinal == self.at:
            self._note.write_text(f"{os.getpid()}\n")
            os.kill(os.getpid(), self.signal)

    @property
    def _note(self) -> Path:
        return Path(self.directory) / "victim"


@dataclass(frozen=True)
class Snares:
    """Failpoints that are set while the workers run, any number of times.

    Attributes:
        directory: one that nothing else uses.
    """

    directory: str

    def environment(self) -> dict[str, str]:
        """What a worker has to find in its environment."""
        return {_SNARES: self.directory}

    def lay(self, name: str) -> None:
        """From now on, kill whoever reaches this failpoint first."""
        assert name in names(), f"there is no failpoint {name!r}"
        self._path(name).touch()

    def sprung(self, name: str) -> bool:
        """Whether somebody was killed since it was laid."""
        return not self._path(name).exists()

    def strike(self, name: str) -> None:
        """Kill whoever calls this, if the snare is laid."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _path(self, name: str) -> Path:
        return Path(self.directory) / name.replace(" ", "-")


def names() -> list[str]:
    """Every failpoint of the package."""
    sources = (path.read_text("utf-8") for path in (_ROOT / _PACKAGE).rglob("*.py"))
    return sorted(name for source in sources for _indent, name in _COMMENT.findall(source))


def armed(source: str) -> str:
    """A module's source with a call in the place of each failpoint."""
    return _COMMENT.sub(_CALL, source)


def reach(name: str) -> None:
    """Called at each failpoint, where they are armed."""
    if directory := os.environ.get(_SNARES):
        Snares(directory).strike(name)
        return
    given = Failpoint(**json.loads(os.environ[_VARIABLE]))
    if given.name == name:
        given.strike()


def run() -> None:
    """Arm the failpoints, then be the program ``celery``."""
    assert not any(name.partition(".")[0] == _PACKAGE for name in sys.modules)
    sys.meta_path.insert(0, _Finder())
    from celery.__main__ import main

    sys.argv[0] = "celery"
    main()


class _Finder:
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != _PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        source = Path(self.path).read_text("utf-8")
        if not _COMMENT.search(source):
            return super().get_code(fullname)
        return compile(armed(source), self.path, "exec", dont_inherit=True)
