"""The trace that a run was submitted in, and how each worker is set up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add a column to runs and one to workers."""
    schema: Schema = context.config.attributes["schema"]
    for table, column in (("runs", "trace"), ("workers", "settings")):
        op.add_column(
            schema.table_name(table), sa.Column(column, sa.Text()), schema=schema.namespace
        )
