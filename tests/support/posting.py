"""The leader's sender in this process, and the time it waits for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from sqlalchemy import update

from breakbulk.ledger.sql import clock
from breakbulk.runner.sending import Sender
from tests.support.waiting import wait_for
from tests.support.yard import Yard


@dataclass
class Post:
    """The leader's sender, in this process, and the links that it has sent."""

    yard: Yard
    sent: list[tuple[str, int, str]] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self.sender = Sender(self.yard.runtime, self._link)

    def _link(self, signature: str, run_id: int, task_id: str) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")
        self.sent.append((json.loads(signature)["task"], run_id, task_id))

    def tick(self) -> None:
        """Let the sender look once."""
        with self.yard.runtime.database.connect() as connection:
            self.sender.tick(connection)

    def clear(self) -> None:
        """Send all that is due, and write down what comes back."""
        self.tick()

        def over() -> bool:
            self.tick()
            return not self.sender.busy

        wait_for(over, message="everything to be sent")


def hasten(yard: Yard) -> None:
    """Let the time pass until everything is due."""
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(update(schema.endpoints).values(rests_until=None))
        connection.execute(
            update(schema.deliveries)
            .where(schema.deliveries.c.ended_at.is_(None))
            .values(not_before=clock(-1))
        )


def events(yard: Yard) -> list[str]:
    """The types of all events that were written."""
    return [row["type"] for row in yard.rows_of("events")]
