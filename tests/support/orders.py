"""Orders to the chunk that comes next: how a test strikes inside a worker's own process."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_for


class Orders:
    """A directory in which a test leaves orders and chunks find them.

    An order is carried out once, by one chunk. Which one is chance, so it strikes at random.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    def give(self, deed: str, *, timeout: float = 60.0, **details: Any) -> int:
        """Called by the test: have the next chunk do this; the process that took the order."""
        draft = self.directory / f"{deed}.draft"
        draft.write_text(json.dumps(details))
        # Complete when it is seen.
        draft.rename(self.directory / f"{deed}.order")
        taken = wait_for(
            lambda: next(self.directory.glob(f"{deed}.taken-*"), None),
            timeout=timeout,
            message=f"a chunk to take the order to {deed}",
        )
        assert taken is not None
        taken.unlink()
        return int(taken.name.rpartition("-")[2])

    def take(self, deed: str, pid: int) -> dict[str, Any] | None:
        """Called by the chunk: the order's details, if there is one and nobody was faster."""
        order = self.directory / f"{deed}.order"
        with suppress(FileNotFoundError):
            taken = order.rename(self.directory / f"{deed}.work-{pid}")
            details: dict[str, Any] = json.loads(taken.read_text())
            taken.rename(self.directory / f"{deed}.taken-{pid}")
            return details
        return None

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
