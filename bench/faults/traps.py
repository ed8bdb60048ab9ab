"""Traps that are laid in a directory and sprung by whoever comes by first, in any process.

They make a fault strike at one exact place of the work. All systems run the same traps, because
all run the same `work`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self

from sqlalchemy import text
from sqlalchemy.orm import Session

VARIABLE = "BENCH_FAULTS_TRAPS"
MARK = "the next commit is that of process "
"""What a session says to the proxy in front of the database."""

_HOLD_SECONDS = 60.0

Place = Literal["chunk", "callback"]


class BadRow(Exception):
    """A row that cannot be processed."""


@dataclass(frozen=True)
class Traps:
    """The traps of one trial.

    Attributes:
        directory: where they lie.
        bad_row: the row that fails whenever it is worked on; 0 for none.
        deadly: it kills its process, and does not just raise an error.
    """

    directory: Path
    bad_row: int = 0
    deadly: bool = False

    @classmethod
    @cache
    def here(cls) -> Self:
        """Return the traps that the environment of this process tells of."""
        directory, bad_row, deadly = os.environ[VARIABLE].split(os.pathsep)
        return cls(Path(directory), int(bad_row), bool(int(deadly)))

    def environment(self) -> dict[str, str]:
        """Return what a process needs to find them."""
        parts = str(self.directory), str(self.bad_row), str(int(self.deadly))
        return {VARIABLE: os.pathsep.join(parts)}

    def lay(self, name: str) -> None:
        """Lay a trap.

        ``hold-chunk`` and ``hold-callback`` hold a process in the middle, so that something can
        be done to it; ``commit-chunk`` and ``commit-callback`` tell the proxy of the COMMIT.
        """
        (self.directory / name).touch()

    def sprung(self, name: str) -> tuple[float, int] | None:
        """When a trap was sprung, in seconds since the epoch, and by which process; None: not."""
        try:
            at, pid = (self.directory / f"{name}.sprung").read_text("ascii").split()
        except (FileNotFoundError, ValueError):
            return None
        return float(at), int(pid)

    def row(self, ids: Sequence[int]) -> None:
        """Come by with some rows."""
        if self.bad_row in ids:
            self._spring("row")
            if self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            raise BadRow(f"row {self.bad_row} cannot be processed")

    def commit(self, session: Session, place: Place) -> None:
        """Come by right before a COMMIT."""
        if self._take(f"commit-{place}"):
            session.execute(text(f"SELECT '{MARK}{os.getpid()}'"))

    def middle(self, place: Place) -> None:
        """Come by in the middle: after the changes, before the COMMIT."""
        if self._take(f"hold-{place}"):
            self._spring(f"hold-{place}")
            time.sleep(_HOLD_SECONDS)

    def _take(self, name: str) -> bool:
        try:
            (self.directory / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _spring(self, name: str) -> None:
        # Renamed into place, so that it is there as a whole or not at all; only the first counts.
        path = self.directory / f"{name}.sprung"
        if not path.exists():
            draft = self.directory / f"{name}.{os.getpid()}"
            draft.write_text(f"{time.time()} {os.getpid()}", "ascii")
            draft.rename(path)
