"""Chunks that size themselves: what one is to take, and each change of their size."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import ID, Instant

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table, and say of each run what its chunks are to take."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name
    op.create_table(
        name("sizes"),
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("ceiling", sa.Integer()),
        sa.Column("ceiling_number", sa.Integer(), nullable=False),
        sa.Column("told", sa.Integer()),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('sizes')}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('sizes')}_run_id_id",
        name("sizes"),
        ["run_id", "id"],
        schema=schema.namespace,
    )
    op.add_column(name("runs"), sa.Column("chunk_seconds", sa.Float()), schema=schema.namespace)
