"""Since when a run could be worked on, and the view of what is left to do, which tells it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger import backlogview
from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column, and make the view anew."""
    schema: Schema = context.config.attributes["schema"]
    runs = schema.table_name("runs")
    op.add_column(runs, sa.Column("ready_at", Instant()), schema=schema.namespace)
    for statement in backlogview.create(schema, context.get_context().dialect):
        op.execute(statement)
