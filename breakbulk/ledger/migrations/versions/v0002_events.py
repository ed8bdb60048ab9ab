"""Events to the outside: endpoints, links, and the outbox with its deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create their tables; no other one is touched, so nobody at work waits."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name

    def create(table: str, *columns: sa.Column[object]) -> None:
        op.create_table(
            name(table),
            sa.Column("id", ID, nullable=False),
            *columns,
            sa.PrimaryKeyConstraint("id", name=f"pk_{name(table)}"),
            schema=schema.namespace,
        )

    def index(table: str, *columns: str) -> None:
        op.create_index(
            f"ix_{name(table)}_{'_'.join(columns)}",
            name(table),
            list(columns),
            schema=schema.namespace,
        )

    create(
        "endpoints",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("job", sa.Text()),
        sa.Column("wants", sa.Text()),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secret", sa.Text()),
        sa.Column("old_secret_until", Instant()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("failing_since", Instant()),
        sa.Column("rests_until", Instant()),
    )
    create(
        "links",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
    )
    index("links", "run_id")
    create(
        "events",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
    )
    index("events", "run_id", "id")
    index("events", "at")
    create(
        "deliveries",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("endpoint_id", sa.BigInteger()),
        sa.Column("link_id", sa.BigInteger()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("not_before", Instant(), nullable=False),
        sa.Column("owner", sa.Uuid()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
    )
    index("deliveries", "run_id", "id")
    index("deliveries", "event_id")
    index("deliveries", "endpoint_id", "id")
    op.create_index(
        f"ix_{name('deliveries')}_due",
        name("deliveries"),
        ["endpoint_id", "not_before"],
        schema=schema.namespace,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    create(
        "tries",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("code", sa.Integer()),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.Column("error", sa.Text()),
    )
    index("tries", "delivery_id", "id")
