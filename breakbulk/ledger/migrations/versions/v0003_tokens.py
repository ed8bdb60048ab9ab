"""Tokens by which machines are known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create their table."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name("tokens")
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("can", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", Instant()),
        sa.Column("last_used_at", Instant()),
        sa.Column("revoked_at", Instant()),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name}_name",
        name,
        ["name"],
        unique=True,
        schema=schema.namespace,
        postgresql_where=sa.text("revoked_at IS NULL"),
        sqlite_where=sa.text("revoked_at IS NULL"),
    )
