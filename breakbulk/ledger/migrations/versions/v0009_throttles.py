"""On what runs hold back, where that stands, and what of their caps is used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import ID, Instant

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create both tables, and say of each run what holds it back."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name
    op.create_table(
        name("throttles"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("gauge", sa.Text()),
        sa.Column("says", sa.Text()),
        sa.Column("value", sa.Double()),
        sa.Column("at_most", sa.Double()),
        sa.Column("since", Instant()),
        sa.Column("ceiling", sa.Integer()),
        sa.Column("raised_at", Instant()),
        sa.PrimaryKeyConstraint("run_id", name=f"pk_{name('throttles')}"),
        schema=schema.namespace,
    )
    allowances = name("allowances")
    op.create_table(
        allowances,
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("used_until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{allowances}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{allowances}_run_id_id", allowances, ["run_id", "id"], schema=schema.namespace
    )
    for column in (sa.Column("throttle", sa.Text()), sa.Column("throttled_to", sa.Integer())):
        op.add_column(name("runs"), column, schema=schema.namespace)
