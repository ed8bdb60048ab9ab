"""Deadlines of runs, and who scales workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column and the table."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name
    op.add_column(name("runs"), sa.Column("finish_by", Instant()), schema=schema.namespace)
    op.create_table(
        name("scalers"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Uuid()),
        sa.Column("lease_until", Instant()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=f"pk_{name('scalers')}"),
        schema=schema.namespace,
    )
