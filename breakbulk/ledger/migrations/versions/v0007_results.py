"""Results of items, what attempts leave for the next one, and runs that start later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create both tables, and say of each run from when on it may be worked on."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name
    op.create_table(
        name("results"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name=f"pk_{name('results')}"),
        schema=schema.namespace,
    )
    op.create_table(
        name("item_states"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("agains", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("value", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "number", name=f"pk_{name('item_states')}"),
        schema=schema.namespace,
    )
    op.add_column(name("runs"), sa.Column("not_before", Instant()), schema=schema.namespace)
    op.add_column(
        name("runs"),
        sa.Column("awaits", sa.Boolean(), nullable=False, server_default=sa.false()),
        schema=schema.namespace,
    )
