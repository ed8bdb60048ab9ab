"""Keys that lose rows or loop for ever elsewhere: handled right, or refused by their value."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import (
    CHAR,
    REAL,
    Column,
    DateTime,
    Double,
    Engine,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import NotSupportedError

from breakbulk.errors import SourceError
from breakbulk.sources import table_source
from breakbulk.sources import walk as walking

if TYPE_CHECKING:
    from breakbulk.domain.chunk import Cut, Scout
    from breakbulk.domain.keys import Key
    from breakbulk.sources import TableSource


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def chunks_of(engine: Engine, source: TableSource, chunk_size: int = 1) -> list[Cut]:
    cuts: list[Cut] = []
    after: Key | None = None
    scout: Scout | None = None
    with engine.connect() as connection:
        source.check(connection)
        until = source.until(connection)
        assert until is not None
        for _ in range(100):
            walk = source.walk(
                connection, after=after, scout=scout, until=until, chunk_size=chunk_size, chunks=1
            )
            cuts += walk.cuts
            scout = walk.scout
            after = cuts[-1].bounds.upto if cuts else None
            if walk.reached_end:
                return cuts
    raise AssertionError("The walk does not end.")


def keys_of(engine: Engine, source: TableSource) -> list[Key]:
    cuts = chunks_of(engine, source)
    with engine.connect() as connection:
        return [key for cut in cuts for key in source.keys(connection, cut.bounds)]


def table(kind: Any) -> Table:
    return Table("goods", MetaData(), Column("k", kind, primary_key=True))


def test_float4_declared_as_such_is_walked(postgres_engine: Engine) -> None:
    goods = table(REAL())
    goods.create(postgres_engine)
    execute(postgres_engine, "INSERT INTO goods VALUES (0.1), (0.2), (0.3), (3.4028235e38)")

    assert len(keys_of(postgres_engine, table_source(select(goods)))) == 4


def test_float4_declared_as_a_double_is_refused(postgres_engine: Engine) -> None:
    execute(
        postgres_engine,
        "CREATE TABLE goods (k float4 PRIMARY KEY)",
        "INSERT INTO goods VALUES (0.5), (3.4028235e38)",
    )

    with pytest.raises(
        SourceError, match=r"key \[3\.4028235e\+38\] of column k does not come back"
    ):
        chunks_of(postgres_engine, table_source(select(table(Double()))))


def test_a_bad_key_in_the_middle_is_refused_too(postgres_engine: Engine) -> None:
    execute(
        postgres_engine,
        "CREATE TABLE goods (k float4 PRIMARY KEY)",
        "INSERT INTO goods VALUES (0.5), (0.7), (8)",
    )

    with pytest.raises(SourceError, match=r"key \[0\.7\] of column k"):
        chunks_of(postgres_engine, table_source(select(table(Float()))))


@pytest.mark.parametrize("keys", ["(0.7), (8)", "(0.5), (0.7)"], ids=["lowest", "highest"])
def test_a_bad_key_at_either_end_is_refused_at_submit(postgres_engine: Engine, keys: str) -> None:
    execute(
        postgres_engine,
        "CREATE TABLE goods (k float4 PRIMARY KEY)",
        f"INSERT INTO goods VALUES {keys}",
    )
    source = table_source(select(table(Double())))

    words = r"key \[0\.7\] of column k does not come back"
    with postgres_engine.connect() as connection, pytest.raises(SourceError, match=words):
        source.check(connection)


def test_a_bad_key_at_the_edge_of_a_window_is_refused_too(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row of it matches, so it is no chunk's bound; but the walk goes on from there."""
    monkeypatch.setattr(walking, "FIRST_WINDOW", 2)
    execute(
        postgres_engine,
        "CREATE TABLE goods (k float4 PRIMARY KEY)",
        "INSERT INTO goods VALUES (0.5), (0.7), (8)",
    )
    goods = table(Float())

    with pytest.raises(SourceError, match=r"key \[0\.7\] of column k"):
        chunks_of(postgres_engine, table_source(select(goods).where(goods.c.k > 5)))


@pytest.mark.parametrize("kind", [CHAR(4), String(), Text()])
def test_padded_text_is_walked_however_it_is_declared(postgres_engine: Engine, kind: Any) -> None:
    execute(
        postgres_engine,
        "CREATE TABLE goods (k char(4) PRIMARY KEY)",
        "INSERT INTO goods VALUES ('a'), ('ab'), ('b'), ('abcd'), ('a b')",
    )

    assert len(keys_of(postgres_engine, table_source(select(table(kind))))) == 5


@pytest.mark.parametrize("value", ["infinity", "-infinity", "4713-01-01 BC"])
def test_moments_that_python_does_not_have_are_refused(postgres_engine: Engine, value: str) -> None:
    goods = table(DateTime(timezone=True))
    goods.create(postgres_engine)
    execute(postgres_engine, f"INSERT INTO goods VALUES ('{value}'), ('2024-01-01')")

    with pytest.raises(SourceError, match="cannot be read"):
        chunks_of(postgres_engine, table_source(select(goods)))


def test_moments_are_the_same_whatever_the_time_zone(postgres_engine: Engine) -> None:
    goods = table(DateTime(timezone=True))
    goods.create(postgres_engine)
    with postgres_engine.begin() as connection:
        moment = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, for the first time
        connection.execute(insert(goods), [{"k": moment}, {"k": moment.replace(hour=1)}])
    source = table_source(select(goods))
    found = []
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata"):
        with postgres_engine.connect() as connection:
            connection.execute(text(f"SET TIME ZONE '{zone}'"))
            found.append(source.until(connection))
            until = found[0]
            assert until is not None
            walk = source.walk(
                connection, after=None, scout=None, until=until, chunk_size=1, chunks=2
            )
            assert [cut.rows for cut in walk.cuts] == [1, 1]
    assert len({repr(key) for key in found}) == 1


@pytest.mark.parametrize("kind", [Double(), Numeric()])
def test_not_a_number_and_infinity_are_walked_where_they_have_an_order(
    postgres_engine: Engine, kind: Any
) -> None:
    goods = table(kind)
    goods.create(postgres_engine)
    execute(
        postgres_engine, "INSERT INTO goods VALUES ('NaN'), ('Infinity'), ('-Infinity'), (0), (1.5)"
    )

    keys = keys_of(postgres_engine, table_source(select(goods)))

    assert len(keys) == 5
    last = keys[-1][0]
    assert isinstance(last, (float, Decimal))
    assert math.isnan(last)


def dictionary_of(engine: Engine) -> str:
    """A collation that sorts as people do, and holds no two texts equal."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            known = "SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'"
            if connection.execute(text(known)).first() is None:
                pytest.skip("PostgreSQL was built without ICU")
        return '"und-x-icu"'

    def compare(one: str, other: str) -> int:
        ours, theirs = ((value.casefold(), value) for value in (one, other))
        return (ours > theirs) - (ours < theirs)

    @event.listens_for(engine, "connect")
    def _teach(connection: Any, _record: object) -> None:
        connection.create_collation("dictionary", compare)

    return "dictionary"


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_text_in_the_order_of_a_dictionary(engine: Engine, chunk_size: int) -> None:
    collation = dictionary_of(engine)
    words = ["", "a", "A", "ab", "aB", "AB", "b", "B", "ba", "Z", "z", "Zz", "ß", "ss", "Ä", "é"]
    execute(engine, f"CREATE TABLE goods (k text COLLATE {collation} PRIMARY KEY NOT NULL)")
    # As it is mapped in most applications: the collation is the database's own business.
    goods = table(Text())
    with engine.begin() as connection:
        connection.execute(insert(goods), [{"k": word} for word in words])
    source = table_source(select(goods))

    cuts = chunks_of(engine, source, chunk_size)

    with engine.connect() as connection:
        found = [key[0] for cut in cuts for key in source.keys(connection, cut.bounds)]
        order = connection.execute(text("SELECT k FROM goods ORDER BY k")).scalars().all()
        last = source.until(connection)
    assert found == list(order)
    assert found != sorted(words), "or it would be the order of code points"
    assert last == (order[-1],)
    assert [cut.rows for cut in cuts] == [
        min(chunk_size, len(words) - first) for first in range(0, len(words), chunk_size)
    ]


def test_collations_that_hold_different_texts_equal(engine: Engine) -> None:
    collation = "NOCASE"
    if engine.dialect.name == "postgresql":
        collation = "loose"
        try:
            execute(
                engine,
                "CREATE COLLATION loose "
                "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            )
        except NotSupportedError:
            pytest.skip("PostgreSQL was built without ICU")
    execute(
        engine,
        f"CREATE TABLE goods (k text COLLATE {collation} NOT NULL, id int PRIMARY KEY)",
        "CREATE INDEX by_k ON goods (k, id)",
        "INSERT INTO goods VALUES ('b', 1), ('A', 2), ('a', 3), ('B', 4), ('ba', 5), ('c', 6)",
    )
    goods = Table(
        "goods",
        MetaData(),
        Column("k", Text, nullable=False),
        Column("id", Integer, primary_key=True),
    )

    keys = keys_of(engine, table_source(select(goods), key=goods.c.k))

    assert [key[1] for key in keys] == [2, 3, 1, 4, 5, 6]


def test_dates_written_in_two_ways_are_walked_or_refused(sqlite_engine: Engine) -> None:
    execute(
        sqlite_engine,
        "CREATE TABLE goods (k DATETIME PRIMARY KEY NOT NULL)",
        "INSERT INTO goods VALUES ('2024-01-01 00:00:00'), ('2024-01-01 00:00:00.000001')",
    )

    with pytest.raises(SourceError, match='datetime":"2024-01-01T00:00:00"'):
        chunks_of(sqlite_engine, table_source(select(table(DateTime()))))


def test_decimals_that_sqlite_rounds_are_refused(sqlite_engine: Engine) -> None:
    execute(
        sqlite_engine,
        "CREATE TABLE goods (k NUMERIC(30, 20) PRIMARY KEY NOT NULL)",
        "INSERT INTO goods VALUES (0.12345678901234)",
    )

    with pytest.raises(SourceError, match="does not come back"):
        chunks_of(sqlite_engine, table_source(select(table(Numeric(30, 8)))))


def test_text_in_an_integer_column_of_sqlite_is_refused(sqlite_engine: Engine) -> None:
    execute(
        sqlite_engine,
        "CREATE TABLE goods (k VARCHAR(32) PRIMARY KEY NOT NULL)",
        f"INSERT INTO goods VALUES ('{UUID(int=5)}')",
    )

    with pytest.raises(SourceError, match="does not come back"):
        chunks_of(sqlite_engine, table_source(select(table(Uuid()))))


def test_the_key_that_was_last_may_go(engine: Engine) -> None:
    goods = table(Integer())
    goods.create(engine)
    execute(engine, "INSERT INTO goods VALUES (-3), (0), (7), (9)")
    source = table_source(select(goods))
    with engine.begin() as connection:
        until = source.until(connection)
        connection.execute(goods.delete().where(goods.c.k == 9))
        assert until == (9,)
        walk = source.walk(connection, after=None, scout=None, until=until, chunk_size=3, chunks=5)
        assert walk.reached_end
        assert [(cut.bounds.after, cut.bounds.upto, cut.rows) for cut in walk.cuts] == [
            (None, (9,), 3)
        ]
        assert (
            source.walk(
                connection, after=(9,), scout=None, until=until, chunk_size=3, chunks=5
            ).cuts
            == ()
        )
        connection.execute(goods.delete())
        source = table_source(select(goods))
        walk = source.walk(connection, after=None, scout=None, until=until, chunk_size=3, chunks=5)
        assert [cut.rows for cut in walk.cuts] == [0]
        assert source.until(connection) is None
