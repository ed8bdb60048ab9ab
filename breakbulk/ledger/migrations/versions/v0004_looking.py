"""What the dashboard looks things up by: tallies of failures, and indexes for searching runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import Instant

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create them, and tell of what has failed before.

    What a worker of the version before writes down meanwhile is missing in the counts by kind.
    """
    schema: Schema = context.config.attributes["schema"]
    name = schema.table_name

    def index(table: str, ending: str, *columns: str, where: str | None = None) -> None:
        condition = None if where is None else sa.text(where)
        op.create_index(
            f"ix_{name(table)}_{ending}",
            name(table),
            list(columns),
            schema=schema.namespace,
            postgresql_where=condition,
            sqlite_where=condition,
        )

    op.create_table(
        name("failure_tallies"),
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("place", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("failure_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name('failure_tallies')}"),
        schema=schema.namespace,
    )
    op.execute(told_before(schema))
    index("failure_tallies", "run_id_step", "run_id", "step")
    index("failure_tallies", "fresh", "id", where="step = 0")
    index("failures", "run_id_error_id", "run_id", "error", "id")
    ended = "finished_at IS NOT NULL"
    index("runs", "ended", "status", "id", where=ended)
    index("runs", "finished_at", "finished_at", where=ended)
    index("runs", "job_id", "job", "id")
    index("runs", "submitted_by_id", "submitted_by", "id")
    index("runs", "submitted_at", "submitted_at")


def told_before(schema: Schema) -> sa.Insert:
    """A tally for each failure that was written down without one."""
    told = ("run_id", "error", "place", "attempts", "chunks", "first_at", "last_at", "failure_id")

    def table(name: str, *columns: str) -> sa.TableClause:
        return sa.table(schema.table_name(name), *map(sa.column, columns), schema=schema.namespace)

    failed = table("failures", "id", "run_id", "error", "place", "number", "at")
    of, c = table("failure_tallies", *told), failed.c
    first = sa.func.row_number().over(
        partition_by=(c.run_id, c.error, c.place, c.number), order_by=c.id
    )
    one: sa.ColumnElement[int] = sa.literal_column("1")
    none: sa.ColumnElement[int] = sa.literal_column("0")
    chunks = sa.case((sa.and_(c.number.is_not(None), first == one), one), else_=none)
    query = sa.select(c.run_id, c.error, c.place, one, chunks, c.at, c.at, c.id)
    return sa.insert(of).from_select(list(told), query)
