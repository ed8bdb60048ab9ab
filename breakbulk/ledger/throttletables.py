"""The tables of runs that hold back: where that stands, and what of their caps is used."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

from breakbulk.ledger.sql import ID, Instant


def throttles(metadata: MetaData, name: str) -> Table:
    """One row for each run that goes on and has been looked at.

    Not in the run's own row, which every chunk reads: what was measured is written every few
    seconds, and the dead versions would pile up there.
    """
    return Table(
        name,
        metadata,
        Column("run_id", BigInteger, primary_key=True, autoincrement=False),
        # What it holds back on, or was last stopped by.
        Column("gauge", Text),
        Column("says", Text),
        Column("value", Double),
        Column("at_most", Double),
        # NULL while it does not hold back.
        Column("since", Instant),
        # Lanes it may have since it was stopped; NULL: as many as it could have anyway.
        Column("ceiling", Integer),
        Column("raised_at", Instant),
    )


def allowances(metadata: MetaData, name: str) -> Table:
    """Up to when a run's cap is used: the latest row says. Inserted with each carve, not updated.

    Whoever inserts one has the carve row locked.
    """
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("run_id", BigInteger, nullable=False),
        Column("used_until", Instant, nullable=False),
        Index(None, "run_id", "id"),
    )
