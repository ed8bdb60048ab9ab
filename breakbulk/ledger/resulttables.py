"""The tables of runs whose items have results, and attempts that leave word for the next one."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, text


def results(metadata: MetaData, name: str) -> Table:
    """What came of items, by their numbers; 0 of the callback, and -1 what a run was given."""
    return Table(
        name,
        metadata,
        Column("run_id", BigInteger, primary_key=True, autoincrement=False),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("value", Text, nullable=False),
    )


def item_states(metadata: MetaData, name: str) -> Table:
    """What the last attempt at an item has left for the next one; 0: at the callback.

    It counts in the round in which it was written and in no other.
    """
    return Table(
        name,
        metadata,
        Column("run_id", BigInteger, primary_key=True, autoincrement=False),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("round", Integer, nullable=False),
        # So many attempts of the round have asked for another one: these cost no try.
        Column("agains", Integer, nullable=False, server_default=text("1")),
        Column("value", Text),
    )
