"""What whoever scales workers needs of the ledger: to be the only one, to remember, to tell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from breakbulk.domain.chunk import RunId
from breakbulk.ledger.faults import translated
from breakbulk.runner.runtime import Runtime

Note = tuple[int, str, str]
"""A line for a run's activity: its number, the verb, and the sentence."""


class Scaling:
    """The place in the ledger of one controller, beside others for other groups of workers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def place(self) -> str:
        """Tells this ledger from every other one, in a few letters."""
        database = self._runtime.database
        return hashlib.sha256(repr((database.identity, database.schema_name)).encode()).hexdigest()[
            :8
        ]

    def lead(self, name: str, holder: UUID, seconds: float) -> bool:
        """Become or stay the one that scales a group; False while another one does."""
        with translated(), self._runtime.database.transaction() as connection:
            return self._runtime.ledger.scalers.lead(connection, name, holder, seconds)

    def state(self, name: str) -> dict[str, Any]:
        """What was remembered of a group."""
        with translated(), self._runtime.database.reading() as connection:
            return self._runtime.ledger.scalers.state(connection, name)

    def keep(self, name: str, holder: UUID, state: dict[str, Any], notes: Iterable[Note]) -> bool:
        """Remember, and tell the runs; False, and nothing is written, when another one leads.

        Both before anything is done: who dies in between has said what the next one will do.
        """
        ledger = self._runtime.ledger
        with translated(), self._runtime.database.transaction() as connection:
            if not ledger.scalers.keep(connection, name, holder, state):
                return False
            for run, verb, detail in notes:
                ledger.runs.note(
                    connection, RunId(run), actor=f"autoscale {name}", verb=verb, detail=detail
                )
            return True

    def resign(self, name: str, holder: UUID) -> None:
        """Let another one scale the group at once."""
        with translated(), self._runtime.database.transaction() as connection:
            self._runtime.ledger.scalers.resign(connection, name, holder)
