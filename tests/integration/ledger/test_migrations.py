"""The ledger's tables: the migrations make what the code declares, and let the user's be."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    text,
    update,
)

from breakbulk import Breakbulk
from breakbulk.errors import LedgerUnreachable, SchemaError
from breakbulk.ledger import Database, backlogview, migrations
from breakbulk.ledger.schema import HEAD, Schema
from tests.support.yard import Base, Yard, together

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[3]


@contextmanager
def database(url: str, **options: Any) -> Iterator[Database]:
    made = Database(url, **options)
    yield made
    made.dispose()


def differences(engine: Engine, schema: Schema) -> list[Any]:
    """What Alembic would change to turn the database into the declared tables."""
    version_table = schema.table_name(migrations.VERSION_TABLE)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_schemas": True,
                "include_name": lambda name, kind, _parents: (
                    kind != "schema" or name == schema.namespace
                ),
                "version_table": version_table,
                "version_table_schema": schema.namespace,
            },
        )
        return list(compare_metadata(context, schema.metadata))


@pytest.mark.parametrize("name", ["breakbulk", "My Jobs", "order"])
def test_migrations_make_what_the_code_declares(database_url: str, name: str) -> None:
    with database(database_url, schema_name=name) as made:
        assert migrations.upgrade(made) == (None, HEAD)
        assert differences(made.engine, made.schema) == []
        with made.reading() as connection:
            migrations.require_current(connection, made)


def planted(engine: Engine, schema: Schema, statement: str) -> list[Any]:
    with engine.begin() as connection:
        prefix = f"{schema.namespace}." if schema.namespace else f"{schema.name}_"
        connection.execute(text(statement.replace("@", prefix)))
    return differences(engine, schema)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("ALTER TABLE @runs ADD COLUMN planted integer", "remove_column"),
        ("CREATE TABLE @planted (id integer)", "remove_table"),
        ("DROP TABLE @stays", "add_table"),
    ],
)
def test_a_difference_would_be_seen(database_url: str, statement: str, kind: str) -> None:
    with database(database_url) as made:
        migrations.upgrade(made)
        found = planted(made.engine, made.schema, statement)
    assert kind in {one[0] for one in found}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX @ix_chunks_open",
        "ALTER TABLE @runs ALTER COLUMN reason SET NOT NULL",
        "ALTER TABLE @runs ALTER COLUMN round TYPE bigint",
        "ALTER TABLE @runs ALTER COLUMN round DROP DEFAULT",
        "ALTER TABLE @runs DROP CONSTRAINT uq_runs_slot",
    ],
)
def test_a_finer_difference_would_be_seen_too(postgres_url: str, statement: str) -> None:
    with database(postgres_url) as made:
        migrations.upgrade(made)
        assert planted(made.engine, made.schema, statement)


def test_halves_of_a_chunk_sort_the_same_whatever_the_databases_language(
    postgres_url: str,
) -> None:
    with database(postgres_url) as made:
        migrations.upgrade(made)
        with made.engine.connect() as connection:
            query = text(
                "SELECT table_name, collation_name FROM information_schema.columns"
                " WHERE table_schema = 'breakbulk' AND column_name = 'path'"
            )
            rows = {(row.table_name, row.collation_name) for row in connection.execute(query)}
    assert rows == {(name, "C") for name in ("chunks", "waiting", "failures", "quarantine")}


def test_an_upgrade_again_changes_nothing(database_url: str) -> None:
    with database(database_url) as made:
        migrations.upgrade(made)
        assert migrations.upgrade(made) == (HEAD, HEAD)
        assert differences(made.engine, made.schema) == []
        with made.reading() as connection:
            leaders = connection.execute(made.schema.leader.select()).all()
        assert len(leaders) == 1


def test_upgrades_in_several_threads_take_turns(database_url: str) -> None:
    def upgrade() -> tuple[str | None, str]:
        with database(database_url) as made:
            return migrations.upgrade(made)

    results = together(*[upgrade] * 4)
    assert not [one for one in results if isinstance(one, Exception)], results
    assert {after for _, after in results} == {HEAD}
    with database(database_url) as made:
        assert differences(made.engine, made.schema) == []


_UPGRADE = """
import sys
from breakbulk.ledger import Database, migrations
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(migrations.upgrade(database)[1])
"""


def test_upgrades_in_several_processes_take_turns(database_url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _UPGRADE, database_url],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"{HEAD}\n"), error
    with database(database_url) as made:
        assert differences(made.engine, made.schema) == []


def test_an_upgrade_that_fails_leaves_nothing_half_made(database_url: str) -> None:
    """A table of that name is in the way of the last one."""
    with database(database_url) as made:
        schema = made.schema
        with made.engine.begin() as connection:
            if schema.namespace:
                connection.execute(text(f"CREATE SCHEMA {schema.namespace}"))
            connection.execute(text(f"CREATE TABLE {schema.workers.fullname} (id integer)"))
        with pytest.raises(Exception, match="already exists"):
            migrations.upgrade(made)
        assert inspect(made.engine).get_table_names(schema.namespace) == [schema.workers.name]
        with made.engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {schema.workers.fullname}"))
        assert migrations.upgrade(made) == (None, HEAD)


@pytest.mark.parametrize("habit", ["begins itself", "driver begins"])
def test_sqlite_upgrades_with_engines_that_begin_otherwise(sqlite_url: str, habit: str) -> None:
    engine = create_engine(sqlite_url)
    if habit == "begins itself":  # as SQLAlchemy's documentation recommends for savepoints

        def by_hand(connection: Any, _record: object) -> None:
            connection.isolation_level = None

        event.listen(engine, "connect", by_hand)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    made = Database(engine)
    assert migrations.upgrade(made) == (None, HEAD)
    assert differences(engine, made.schema) == []
    yard = Yard(engine, rows=25)
    yard.assert_proper(yard.run())
    yard.close()


def test_a_role_that_may_not_create_schemas_can_upgrade_in_one_made_for_it(
    postgres_url: str,
) -> None:
    admin = create_engine(postgres_url)
    with admin.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS breakbulk_small"))
        connection.execute(text("CREATE ROLE breakbulk_small LOGIN PASSWORD 'small'"))
        connection.execute(text("CREATE SCHEMA breakbulk AUTHORIZATION breakbulk_small"))
    url = admin.url.set(username="breakbulk_small", password="small")
    with database(url.render_as_string(hide_password=False)) as made:
        try:
            assert migrations.upgrade(made) == (None, HEAD)
        finally:
            made.dispose()
            with admin.begin() as connection:
                connection.execute(text("DROP OWNED BY breakbulk_small"))
                connection.execute(text("DROP ROLE breakbulk_small"))
            admin.dispose()


# The version that is there


def at_version(made: Database, version: str) -> None:
    name = made.schema.table_name(migrations.VERSION_TABLE)
    table = Table(name, MetaData(), Column("version_num", Text), schema=made.schema.namespace)
    with made.engine.begin() as connection:
        connection.execute(update(table).values(version_num=version))


def test_a_view_is_made_anew_for_whoever_was_granted_to_read_it(database_url: str) -> None:
    """A scaler that reads it should not have to be granted that again."""
    with database(database_url) as made:
        migrations.upgrade(made)
        schema, dialect = made.schema, made.engine.dialect
        view = backlogview.full_name(schema, dialect)
        with made.engine.begin() as connection:
            for statement in backlogview.create(schema, dialect):
                # As it was before there was that column.
                earlier = statement.replace("r.ready_at", "r.served_at")
                connection.exec_driver_sql(earlier)
            connection.execute(text(f"ALTER TABLE {schema.runs.fullname} DROP COLUMN ready_at"))
            if made.is_postgresql:
                connection.execute(text(f"GRANT SELECT ON {view} TO PUBLIC"))
        at_version(made, "0011")
        assert migrations.upgrade(made) == ("0011", HEAD)
        assert differences(made.engine, schema) == []
        if made.is_postgresql:
            query = text(
                "SELECT pg_get_viewdef(oid), relacl::text FROM pg_class"
                " WHERE relname = 'backlog' AND relkind = 'v'"
            )
        else:
            query = text(f"SELECT sql, '=r/' FROM sqlite_master WHERE name = '{view}'")
        with made.engine.connect() as connection:
            ((definition, granted),) = connection.execute(query).all()
        assert "ready_at" in definition
        assert "=r/" in granted


@pytest.mark.parametrize("name", ["breakbulk", "ops"])
def test_missing_tables_are_told_in_one_sentence(database_url: str, name: str) -> None:
    bulk = Breakbulk(database_url, schema=name)
    for ask in (bulk.check_schema, bulk.runs, lambda: bulk.run(1), bulk.workers):
        with pytest.raises(
            SchemaError, match=r"^The ledger's tables are missing: run 'breakbulk db upgrade'"
        ):
            ask()
    bulk.runtime.database.dispose()


def test_another_missing_table_is_not_called_ours(database_url: str) -> None:
    yard = Yard(database_url)
    handle = yard.submit(yard.job())
    Base.metadata.drop_all(yard.engine)
    with pytest.raises(Exception, match="goods") as caught:
        yard.submit(yard.job())
    assert not isinstance(caught.value, SchemaError)
    assert handle.record().job == "Job0"
    yard.close()


def test_newer_tables_are_refused(database_url: str) -> None:
    with database(database_url) as made:
        migrations.upgrade(made)
        at_version(made, "9999")
        with (
            pytest.raises(SchemaError, match=r"newer \(version 9999\).*upgrade the breakbulk pack"),
            made.reading() as connection,
        ):
            migrations.require_current(connection, made)
        with pytest.raises(SchemaError, match=r"newer \(version 9999\)"):
            migrations.upgrade(made)
        with made.reading() as connection:
            # A worker goes on until it is its turn to be deployed.
            assert migrations.require_no_older(connection, made) == "9999"


def test_older_tables_are_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(database_url) as made:
        migrations.upgrade(made)
        monkeypatch.setattr(migrations, "HEAD", "0999")
        with (
            pytest.raises(SchemaError, match=rf"too old \(version {HEAD}, .* needs 0999\): run"),
            made.reading() as connection,
        ):
            migrations.require_current(connection, made)
        with (
            pytest.raises(SchemaError, match=r"too old \(version"),
            made.reading() as connection,
        ):
            migrations.require_no_older(connection, made)


@pytest.mark.parametrize("url", ["postgresql+psycopg://nobody@127.0.0.1:1/none", "sqlite:////no/x"])
def test_a_database_that_is_not_there_is_told_in_one_sentence(url: str) -> None:
    with pytest.raises(LedgerUnreachable, match=r"^The ledger's database does not answer \(") as no:
        Breakbulk(url).check_schema()
    assert "\n" not in str(no.value)
    assert no.value.exit_code == 7


# For shops where applications may not run DDL


@pytest.mark.parametrize("name", ["breakbulk", "My Jobs"])
def test_the_sql_for_the_administrator_makes_the_same_tables(database_url: str, name: str) -> None:
    with database(database_url, schema_name=name) as made:
        script = migrations.upgrade_sql(made)
        with made.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if made.is_postgresql:
                driver.autocommit = True
                driver.execute(script)
                driver.autocommit = False
            else:
                driver.executescript(script)
        assert differences(made.engine, made.schema) == []
        assert migrations.upgrade(made) == (HEAD, HEAD)
        with made.reading() as connection:
            assert len(connection.execute(made.schema.leader.select()).all()) == 1


def test_the_sql_needs_no_database() -> None:
    bulk = Breakbulk("postgresql+psycopg://nobody@127.0.0.1:1/none")
    script = bulk.upgrade_sql()
    assert 'CREATE SCHEMA IF NOT EXISTS "breakbulk"' in script
    assert script.count("CREATE TABLE") == 1 + len(bulk.runtime.database.schema.metadata.tables)


# The user's own migrations

USERS = MetaData()
Table("shop", USERS, Column("id", Integer, primary_key=True))


def users_differences(engine: Engine, **options: Any) -> list[Any]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, USERS))


def test_autogenerate_does_not_see_us(database_url: str) -> None:
    bulk = Breakbulk(database_url)
    bulk.upgrade()
    engine = bulk.runtime.database.engine
    USERS.create_all(engine)
    if engine.dialect.name == "postgresql":
        assert users_differences(engine) == []
    assert users_differences(engine, include_name=bulk.include_name) == []
    everything = users_differences(
        engine, include_name=bulk.include_name, include_schemas=engine.dialect.name == "postgresql"
    )
    assert everything == []
    engine.dispose()


def test_autogenerate_still_sees_what_is_the_users(database_url: str) -> None:
    bulk = Breakbulk(database_url)
    bulk.upgrade()
    engine = bulk.runtime.database.engine
    with engine.begin() as connection:
        for name in ("breakbulk_of_ours", "runs", "chunks"):
            connection.execute(text(f"CREATE TABLE {name} (id integer)"))
    found = users_differences(engine, include_name=bulk.include_name)
    named = sorted((kind, table.name) for kind, table in found)
    assert named == [
        ("add_table", "shop"),
        ("remove_table", "breakbulk_of_ours"),
        ("remove_table", "chunks"),
        ("remove_table", "runs"),
    ]
    engine.dispose()


def test_two_ledgers_live_in_one_database(database_url: str) -> None:
    with database(database_url) as one, database(database_url, schema_name="other") as two:
        migrations.upgrade(one)
        migrations.upgrade(two)
        assert differences(one.engine, one.schema) == [] or not one.is_postgresql
        with one.transaction() as connection:
            connection.execute(one.schema.leader.delete())
        with two.reading() as connection:
            assert connection.execute(two.schema.leader.select()).all()
