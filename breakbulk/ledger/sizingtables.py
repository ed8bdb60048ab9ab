"""The table of runs whose chunks size themselves."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

from breakbulk.ledger.sql import ID, Instant


def sizes(metadata: MetaData, name: str) -> Table:
    """Each change of a run's chunk size: appended under the carve row's lock, the last one counts.

    No column of the run or of its carve row: whatever is updated once a second for hours turns into
    a chain of dead versions behind a long transaction.
    """
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("run_id", BigInteger, nullable=False),
        Column("at", Instant, nullable=False),
        # The last chunk that was carved by then.
        Column("number", Integer, nullable=False),
        Column("rows", Integer, nullable=False),
        Column("cause", Text, nullable=False),
        # For people: why.
        Column("detail", Text, nullable=False),
        # What trouble has left of the size, and the last chunk carved by then.
        Column("ceiling", Integer),
        Column("ceiling_number", Integer, nullable=False),
        # The size that the run's activity told last.
        Column("told", Integer),
        Index(None, "run_id", "id"),
    )
