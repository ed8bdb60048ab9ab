"""The items of runs whose source is an iterable, and who reads it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create both tables."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name
    op.create_table(
        name("items"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name=f"pk_{name('items')}"),
        schema=schema.namespace,
    )
    op.create_table(
        name("loads"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("producer", sa.Uuid()),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.Double(), nullable=False),
        sa.Column("lease_until", Instant(), nullable=False),
        sa.Column("loaded", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("ended_at", Instant()),
        sa.PrimaryKeyConstraint("run_id", name=f"pk_{name('loads')}"),
        schema=schema.namespace,
    )
