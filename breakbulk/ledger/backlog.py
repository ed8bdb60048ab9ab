"""Reading how much work is left, off the view that everybody else reads, too."""

from __future__ import annotations

from sqlalchemy import Connection, column, select, table

from breakbulk.domain.backlog import RunBacklog
from breakbulk.domain.chunk import RunId
from breakbulk.domain.status import RunStatus
from breakbulk.ledger import backlogview
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import Instant
from breakbulk.ledger.workers import Workers


class Backlogs:
    """The work left in one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def runs(self, connection: Connection) -> list[RunBacklog]:
        """Of each run that has not ended, in the order of their numbers."""
        schema = self._database.schema
        names = [name for name in RunBacklog.__dataclass_fields__ if name != "finish_by"]
        view = table(
            schema.table_name(backlogview.NAME),
            *(column(name) for name in names),
            column("finish_by", Instant()),
            schema=schema.namespace,
        )
        rows = connection.execute(select(view).order_by(view.c.run_id)).mappings()
        return [
            RunBacklog(
                **{
                    **row,
                    "run_id": RunId(row["run_id"]),
                    "status": RunStatus(row["status"]),
                }
            )
            for row in rows
        ]

    def slots(self, connection: Connection) -> dict[str, int]:
        """Slots of the live workers that take work, by queue; 0 where all shut down."""
        slots: dict[str, int] = {}
        for worker in Workers(self._database).live(connection):
            for queue in worker.queues:
                more = 0 if worker.draining else worker.slots
                slots[queue] = slots.get(queue, 0) + more
        return slots
