"""Orders to the chunk that comes next: how a test strikes inside a worker's own process."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


class Orders:
    """A directory in which a test leaves orders and chunks find them.

    An order is carried out by one chunk. Which one is chance, so it strikes at random.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    def give(self, deed: str, *, again: bool = False, **details: Any) -> None:
        """Called by the test: have the next chunk do this.

        Args:
            again: the same chunk is to do it in each further attempt.
        """
        draft = self.directory / f"{deed}.draft"
        draft.write_text(json.dumps({"again": again, "details": details}))
        # Complete when it is seen.
        draft.rename(self.directory / f"{deed}.order")

    def taken(self, deed: str) -> int | None:
        """Called by the test: the process that has taken the order, if one has."""
        for taken in self.directory.glob(f"{deed}.taken-*"):
            taken.unlink()
            return int(taken.name.rpartition("-")[2])
        return None

    def take(self, deed: str, *, chunk: str) -> dict[str, Any] | None:
        """Called by the chunk: the order's details, if there is one and nobody was faster."""
        mine = self.directory / f"{deed}.chunk-{chunk}"
        if mine.exists():
            return self._details(mine)
        with suppress(FileNotFoundError):
            (self.directory / f"{deed}.order").rename(mine)
            details = self._details(mine)
            (self.directory / f"{deed}.taken-{os.getpid()}").touch()
            return details
        return None

    def _details(self, order: Path) -> dict[str, Any]:
        found = json.loads(order.read_text())
        if not found["again"]:
            order.unlink()
        details: dict[str, Any] = found["details"]
        return details

    def put_poison(self, deeds: dict[str, str]) -> None:
        """Called by the test: what befalls the process at which row, by key; none: all is well."""
        draft = self.directory / "poison.draft"
        draft.write_text(json.dumps(deeds))
        draft.rename(self.directory / "poison")

    def poison(self) -> dict[str, str]:
        """Called by both: what befalls the process at which row."""
        try:
            found: dict[str, str] = json.loads((self.directory / "poison").read_text())
        except FileNotFoundError:
            return {}
        return found

    def hurry(self) -> None:
        """Called by the test: from now on no chunk takes longer than it must."""
        (self.directory / "hurry").touch()

    def calm_down(self) -> None:
        """Called by the test: chunks take their time again."""
        (self.directory / "hurry").unlink(missing_ok=True)

    @property
    def hurried(self) -> bool:
        """Whether chunks should not take their time."""
        return (self.directory / "hurry").exists()
