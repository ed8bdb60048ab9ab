"""The ledger's first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PATH = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    """Create them all."""
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name
    op.create_table(
        name("activity"),
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('activity')}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('activity')}_run_id_id",
        name("activity"),
        ["run_id", "id"],
        schema=schema.namespace,
    )
    op.create_table(
        name("carves"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("exhausted_at", Instant()),
        sa.Column("scout", sa.Text()),
        sa.Column("walker", sa.Uuid()),
        sa.Column("walker_until", Instant()),
        sa.PrimaryKeyConstraint("run_id", name=f"pk_{name('carves')}"),
        schema=schema.namespace,
    )
    op.create_table(
        name("chunks"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("path", PATH, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner", sa.Uuid()),
        sa.Column("lane", sa.Integer()),
        sa.Column("after", sa.Text()),
        sa.Column("upto", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("rows_upto", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("losses", sa.SmallInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("snoozes", sa.SmallInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("troubled", sa.SmallInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("seconds", sa.Float()),
        sa.Column("ended_at", Instant()),
        sa.PrimaryKeyConstraint("run_id", "number", "path", name=f"pk_{name('chunks')}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('chunks')}_open",
        name("chunks"),
        ["run_id", "status", "number", "path"],
        schema=schema.namespace,
        postgresql_where=sa.text("status <> 'succeeded'"),
        sqlite_where=sa.text("status <> 'succeeded'"),
    )
    op.create_table(
        name("failures"),
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("path", PATH),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("place", sa.Text()),
        sa.Column("traceback", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.Column("upto", sa.Text()),
        sa.Column("rows", sa.Integer()),
        sa.Column("worker", sa.Text()),
        sa.Column("host", sa.Text()),
        sa.Column("seconds", sa.Float()),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('failures')}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('failures')}_run_id_id",
        name("failures"),
        ["run_id", "id"],
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('failures')}_run_id_number_path_id",
        name("failures"),
        ["run_id", "number", "path", "id"],
        schema=schema.namespace,
    )
    op.create_table(
        name("quarantine"),
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("path", PATH, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("place", sa.Text()),
        sa.Column("traceback", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('quarantine')}"),
        sa.UniqueConstraint(
            "run_id", "number", "path", name=f"uq_{name('quarantine')}_run_id_number_path"
        ),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('quarantine')}_run_id_id",
        name("quarantine"),
        ["run_id", "id"],
        schema=schema.namespace,
    )
    op.create_table(
        name("lanes"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("token", sa.Uuid(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.Double(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name=f"pk_{name('lanes')}"),
        sa.UniqueConstraint("token", name=f"uq_{name('lanes')}_token"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('lanes')}_worker_id",
        name("lanes"),
        ["worker_id"],
        schema=schema.namespace,
    )
    op.create_table(
        name("leader"),
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("worker_id", sa.Uuid()),
        sa.Column("lease_until", Instant()),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('leader')}"),
        schema=schema.namespace,
    )
    op.create_table(
        name("runs"),
        sa.Column("id", ID, nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("outcome", sa.Text()),
        sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("round", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("submitted_at", Instant(), nullable=False),
        sa.Column("submitted_by", sa.Text()),
        sa.Column("started_at", Instant()),
        sa.Column("served_at", Instant()),
        sa.Column("finished_at", Instant()),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("slot", sa.Text()),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("parameters_hash", sa.Text(), nullable=False),
        sa.Column("waits_for", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("key_names", sa.Text(), nullable=False),
        sa.Column("until", sa.Text()),
        sa.Column("rows_estimate", sa.BigInteger()),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("max_lanes", sa.Integer()),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("suspect", sa.Text()),
        sa.Column("callback_failed", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("at_least_once", sa.Boolean(), nullable=False),
        sa.Column("has_failed", sa.Boolean(), nullable=False),
        sa.Column("finisher", sa.Uuid()),
        sa.Column("finisher_lane", sa.Uuid()),
        sa.Column("finish_attempt", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("finish_after", Instant()),
        sa.Column("summary", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('runs')}"),
        sa.UniqueConstraint(
            "job", "idempotency_key", name=f"uq_{name('runs')}_job_idempotency_key"
        ),
        sa.UniqueConstraint("slot", name=f"uq_{name('runs')}_slot"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('runs')}_active",
        name("runs"),
        ["queue", "status"],
        schema=schema.namespace,
        postgresql_where=sa.text("finished_at IS NULL"),
        sqlite_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        name("tallies"),
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('tallies')}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('tallies')}_run_id_at",
        name("tallies"),
        ["run_id", "at"],
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('tallies')}_fresh",
        name("tallies"),
        ["at"],
        schema=schema.namespace,
        postgresql_where=sa.text("lane >= 0"),
        sqlite_where=sa.text("lane >= 0"),
    )
    op.create_table(
        name("waiting"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("path", PATH, nullable=False),
        sa.Column("not_before", Instant(), nullable=False),
        sa.Column("tried", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("spent", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("run_id", "number", "path", name=f"pk_{name('waiting')}"),
        schema=schema.namespace,
    )
    op.create_index(
        f"ix_{name('waiting')}_run_id_not_before",
        name("waiting"),
        ["run_id", "not_before"],
        schema=schema.namespace,
    )
    op.create_table(
        name("workers"),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("registered_at", Instant(), nullable=False),
        sa.Column("healthy_since", Instant(), nullable=False),
        sa.Column("lease_until", Instant(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('workers')}"),
        schema=schema.namespace,
    )
    op.bulk_insert(
        sa.table(name("leader"), sa.column("id", sa.Integer), schema=schema.namespace),
        [{"id": 1}],
    )
