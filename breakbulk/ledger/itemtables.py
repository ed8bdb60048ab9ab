"""The tables of runs whose source is an iterable: its items, and how far it has been read."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, Table, Text, Uuid, text

from breakbulk.ledger.sql import Instant


def items(metadata: MetaData, name: str) -> Table:
    """What runs of items are made of, numbered from 1 without holes; never changed."""
    return Table(
        name,
        metadata,
        Column("run_id", BigInteger, primary_key=True, autoincrement=False),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("value", Text, nullable=False),
    )


def loads(metadata: MetaData, name: str) -> Table:
    """One row a run of items: how far its iterable has been read, and who is at it.

    It is updated once a batch, and lanes never read it: they ask for the last item.
    """
    return Table(
        name,
        metadata,
        Column("run_id", BigInteger, primary_key=True, autoincrement=False),
        # Who reads the iterable: a token for this submit. NULL: nobody does any more.
        Column("producer", Uuid),
        Column("host", Text, nullable=False),
        Column("pid", Integer, nullable=False),
        Column("process_started", Double, nullable=False),
        Column("lease_until", Instant, nullable=False),
        # So many of its items are there.
        Column("loaded", BigInteger, nullable=False, server_default=text("0")),
        # Of all items so far, each with what was before it.
        Column("digest", Text, nullable=False),
        # What ended it before its end.
        Column("error", Text),
        Column("ended_at", Instant),
    )
