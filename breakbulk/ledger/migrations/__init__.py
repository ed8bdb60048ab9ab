"""Making and upgrading the ledger's tables, by Alembic, with a version table of our own.

Each migration works while the version before is still running: columns are added first and
taken away a release later.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table

from breakbulk.errors import SchemaError
from breakbulk.ledger.database import Database
from breakbulk.ledger.schema import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "schema_version"
# Alembic's environment is one for the whole process, so that two threads would mix theirs up.
_one_at_a_time = threading.Lock()


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the tables to this version's; the versions before and after.

    Raises:
        SchemaError: the tables are newer than this version of Breakbulk.
    """
    # On SQLite, two upgrades at once take turns here; on PostgreSQL they meet at a lock.
    with database.connect() as connection, database.turn():
        before = current(connection, database)
        if before is not None and not _known(before):
            raise SchemaError(_too_new(before))
        connection.rollback()
        config = _config(database)
        config.attributes["connection"] = connection
        _upgrade(config)
    return before, HEAD


def upgrade_sql(database: Database) -> str:
    """The SQL of all migrations, for shops where applications may not run DDL."""
    output = io.StringIO()
    config = _config(database, output)
    config.attributes["dialect"] = database.dialect
    _upgrade(config, sql=True)
    return output.getvalue()


def current(connection: Connection, database: Database) -> str | None:
    """The version of the tables that are there; None when there are none."""
    schema = database.schema
    name = schema.table_name(VERSION_TABLE)
    if not inspect(connection).has_table(name, schema=schema.namespace):
        return None
    # Without Alembic, which no process needs that only works: it takes its time to load, and tells
    # the log of each of its plugins.
    versions = table(name, column("version_num"), schema=schema.namespace)
    version: str | None = connection.execute(select(versions.c.version_num)).scalar_one_or_none()
    return version


def require_current(connection: Connection, database: Database) -> None:
    """Refuse to work on tables that are not this version's.

    Raises:
        SchemaError: they are missing, too old or too new.
    """
    version = require_no_older(connection, database)
    if version != HEAD:
        raise SchemaError(_too_new(version))


def require_no_older(connection: Connection, database: Database) -> str:
    """Refuse tables that a worker cannot work on; the version of those that are there.

    Newer ones do it no harm: it may go on until it is its turn to be deployed.

    Raises:
        SchemaError: they are missing, or too old.
    """
    version = current(connection, database)
    if version is None:
        raise SchemaError("The ledger's tables are missing: run 'breakbulk db upgrade' first.")
    if version != HEAD and _known(version):
        raise SchemaError(
            f"The ledger's tables are too old (version {version}, this Breakbulk needs {HEAD}):"
            " run 'breakbulk db upgrade'."
        )
    return version


def include_name(database: Database, name: str | None, kind: str) -> bool:
    """For an application's own Alembic environment: whether something is the application's.

    Args:
        name: of the schema or table that Alembic found.
        kind: what it is, in Alembic's words.
    """
    schema = database.schema
    if kind == "schema":
        return name is None or name != schema.namespace
    if kind == "table" and schema.flat:
        ours = {table.name for table in schema.metadata.tables.values()}
        return name not in ours | {schema.table_name(VERSION_TABLE)}
    return True


def _too_new(version: str) -> str:
    return (
        f"The ledger's tables are newer (version {version}) than this Breakbulk knows ({HEAD}):"
        " upgrade the breakbulk package here."
    )


def _known(version: str) -> bool:
    return any((Path(__file__).parent / "versions").glob(f"v{version}_*.py"))


def _upgrade(config: Config, *, sql: bool = False) -> None:
    from alembic import command

    with _one_at_a_time:
        command.upgrade(config, "head", sql=sql)


def _config(database: Database, output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output) if output is not None else Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["schema"] = database.schema
    return config
