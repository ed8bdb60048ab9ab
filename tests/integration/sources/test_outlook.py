"""How many rows there are, guessed before the first look at them and better after some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, Uuid, insert, select, text

from breakbulk.sources import table as tables
from breakbulk.sources import table_source
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from breakbulk.sources import TableSource

_ROWS = 20_000
_OF_PAYLOAD = "x" * 60


def warehouse(kind: type[Any]) -> Table:
    return Table(
        "stock",
        MetaData(),
        Column("id", kind, primary_key=True),
        Column("payload", String),
        Column("active", Boolean),
    )


def fill(connection: Connection, table: Table, *, spread: int = 1) -> None:
    table.create(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE stock SET (autovacuum_enabled = false)"))
    ids: Any = [n * spread for n in range(1, _ROWS + 1)]
    if isinstance(table.c.id.type, Uuid):
        ids = [UUID(int=n * (2**128 // (_ROWS + 1))) for n in range(1, _ROWS + 1)]
    rows = [{"id": one, "payload": _OF_PAYLOAD, "active": n % 4 == 0} for n, one in enumerate(ids)]
    connection.execute(insert(table), rows)
    connection.commit()
    if connection.dialect.name == "postgresql":
        wait_for(lambda: counted(connection), message="the count of the rows")


def counted(connection: Connection, which: str = "live") -> bool:
    told = connection.scalar(text(f"SELECT pg_stat_get_{which}_tuples('stock'::regclass)"))
    connection.commit()
    return bool(told)


def rewrite(connection: Connection) -> None:
    connection.execute(text("UPDATE stock SET payload = payload || 'y'"))
    connection.commit()


def seen(connection: Connection, source: TableSource, part: float) -> int | None:
    """Guess again after that part of the rows."""
    until = source.until(connection)
    assert until is not None
    keys = connection.scalars(select(source.key_columns[0]).order_by(source.key_columns[0])).all()
    upto = (keys[int(len(keys) * part) - 1],)
    return source.outlook(connection, upto, until, source.count(connection, upto))


@pytest.mark.parametrize("kind", [Integer, Uuid])
def test_a_table_that_nobody_has_analyzed(engine: Engine, kind: type[Any]) -> None:
    with engine.connect() as connection:
        table = warehouse(kind)
        fill(connection, table)
        source = table_source(select(table))
        assert source.estimate(connection) == pytest.approx(_ROWS, rel=0.02)
        assert seen(connection, source, 0.3) == pytest.approx(_ROWS, rel=0.02)
        # Here only what was seen tells: no statistics say how many rows are active.
        some = table_source(select(table).where(table.c.active))
        assert seen(connection, some, 0.3) == pytest.approx(_ROWS / 4, rel=0.05)


@pytest.mark.parametrize("analyzed", [True, False])
def test_a_table_that_was_just_rewritten(engine: Engine, analyzed: bool) -> None:
    with engine.connect() as connection:
        table = warehouse(Integer)
        fill(connection, table, spread=7)
        if analyzed:
            connection.execute(text("ANALYZE"))
        rewrite(connection)
        source = table_source(select(table))
        assert source.estimate(connection) == pytest.approx(_ROWS, rel=0.02)
        assert seen(connection, source, 0.1) == pytest.approx(_ROWS, rel=0.1)


def test_postgres_a_crash_has_made_the_server_forget(postgres_engine: Engine) -> None:
    # Only the server's owner may reset what it has counted, so it is the embedded one.
    with postgres_engine.connect() as connection:
        table = warehouse(Integer)
        fill(connection, table)
        rewrite(connection)
        wait_for(lambda: counted(connection, "dead"), message="the count of what was rewritten")
        connection.execute(text("SELECT pg_stat_reset_single_table_counters('stock'::regclass)"))
        connection.execute(insert(table).values(id=_ROWS + 1, payload="", active=True))
        connection.commit()
        wait_for(lambda: counted(connection), message="the count of one row")
        source = table_source(select(table))
        # The one row is all that it has counted, and that is not believed.
        assert (source.estimate(connection) or 0) > _ROWS / 2
        assert seen(connection, source, 0.1) == pytest.approx(_ROWS, rel=0.02)


def test_too_little_seen_says_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHEAP_COUNT", 100)
    with engine.connect() as connection:
        stock = warehouse(Integer)
        fill(connection, stock)
        source = table_source(select(stock).where(stock.c.active))
        assert seen(connection, source, 0.04) is None
        assert seen(connection, source, 0.06) == pytest.approx(_ROWS / 4, rel=0.05)
