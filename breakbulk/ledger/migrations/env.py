"""Alembic's entry: runs the migrations on the connection that it is given."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import inspect, text

from breakbulk.ledger.migrations import VERSION_TABLE
from breakbulk.ledger.schema import Schema

schema: Schema = context.config.attributes["schema"]
options: dict[str, Any] = {
    "target_metadata": schema.metadata,
    "version_table": schema.table_name(VERSION_TABLE),
    "version_table_schema": schema.namespace,
}

if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        literal_binds=True,
        output_buffer=context.config.output_buffer,
        **options,
    )
    with context.begin_transaction():
        if schema.namespace:
            context.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema.namespace}"')
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    with connection.begin():
        if schema.namespace:
            # Two upgrades at once: the second waits here and then finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('breakbulk upgrade'))"))
            # Asked first, because IF NOT EXISTS needs the right to create one even if it is there.
            if not inspect(connection).has_schema(schema.namespace):
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema.namespace}"'))
        elif not connection.connection.driver_connection.in_transaction:
            # Python's driver begins none for DDL, and half a set of tables would be left behind.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
