"""Where a demo happens: the database and the broker that its processes share.

The demo, its workers and whoever looks on from another terminal are different processes. They
find one another through a small file, because it may be readable by its owner alone, whereas
the command lines of processes, with the passwords in them, are there for everybody to see.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from breakbulk.errors import ConfigurationError

VARIABLE = "BREAKBULK_DEMO"
"""The environment variable that leads to the file."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the shop has to know.

    Attributes:
        database: SQLAlchemy URL, password included.
        broker: Celery's URL, password included.
        chunk_size: products in a chunk.
    """

    database: str
    broker: str
    chunk_size: int

    @classmethod
    def from_environment(cls) -> Self:
        """Read the file that the environment names.

        Raises:
            ConfigurationError: it names none, or one that is not there (any more).
        """
        named = os.environ.get(VARIABLE)
        if not named:
            raise ConfigurationError(
                f"{VARIABLE} is not set: start `breakbulk demo`, which shows its value."
            )
        try:
            return cls(**json.loads(Path(named).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{VARIABLE}={named} is not the file of a running demo ({error}):"
                " start `breakbulk demo`, which shows its value."
            ) from error

    def save(self, path: Path) -> None:
        """Write the file, for its owner's eyes only."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
