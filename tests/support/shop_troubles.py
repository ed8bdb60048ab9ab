"""What befalls the example's subscribers in tests: included after it, by the ``.ini`` alone.

``troubles.directory`` names a directory in which a test says what is to happen.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breakbulk.pyramid import RunFinished
from tests.support.warehouse import Gate

if TYPE_CHECKING:
    from pyramid.config import Configurator


class Troubles:
    """A subscriber of every end, which comes after the shop's own.

    Args:
        directory: as many files called ``raise-*`` as there are calls that raise, and a directory
            ``gate`` if those that come are to wait.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, event: RunFinished) -> None:
        # What was written until now has reached the database, though nobody else sees it.
        event.session.flush()
        (self._directory / f"heard-{event.run.id}-{event.run.attempt}-{os.getpid()}").touch()
        for order in self._directory.glob("raise-*"):
            order.unlink()
            raise RuntimeError("the subscriber does not feel like it")
        gate = self._directory / "gate"
        if gate.exists():
            Gate(gate).pass_through(f"run-{event.run.id}")


def includeme(config: Configurator) -> None:
    settings: dict[str, Any] = config.get_settings()
    config.add_subscriber(Troubles(Path(settings["troubles.directory"])), RunFinished)
