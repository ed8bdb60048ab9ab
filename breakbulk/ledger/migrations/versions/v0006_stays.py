"""Where lanes worked that have left: the worker of a chunk that is done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import ID, Instant

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    schema: Schema = context.config.attributes["schema"]
    stays = schema.table_name("stays")
    op.create_table(
        stays,
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text()),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{stays}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{stays}_run_id_lane_ended_at",
        stays,
        ["run_id", "lane", "ended_at"],
        schema=schema.namespace,
    )
