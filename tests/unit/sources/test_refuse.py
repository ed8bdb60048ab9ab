from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    func,
    insert,
    select,
    text,
)

from breakbulk.errors import SourceError
from breakbulk.sources import table_source

metadata = MetaData()
goods = Table(
    "goods",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String),
    Column("sku", String, nullable=False, unique=True),
    Column("shelf", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    UniqueConstraint("shelf", "place"),
    Index("only_some", "name", unique=True, sqlite_where=text("shelf = 1")),
)
orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("good_id", ForeignKey(goods.c.id), nullable=False),
)
log = Table("log", metadata, Column("line", String))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        (select(goods).limit(5), "LIMIT"),
        (select(goods).offset(5), "OFFSET"),
        (select(goods).fetch(5), "LIMIT"),
        (select(goods).distinct(), "DISTINCT"),
        (select(goods.c.name).group_by(goods.c.name), "GROUP BY"),
        (select(goods).order_by(goods.c.name), "ORDER BY"),
        (select(goods).with_for_update(), "FOR UPDATE"),
        (select(goods).union_all(select(goods)), "CompoundSelect"),
        (text("SELECT 1"), "TextClause"),
        (select(func.count()).select_from(goods), "aggregate"),
        (select(goods.c.id, func.row_number().over()), "window function"),
        (select(goods, orders).where(goods.c.id == orders.c.good_id), "more than one table"),
        (select(goods).join(orders), "not of one table"),
        (select(log), "no primary key"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_one_sentence(statement: Any, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint) as raised:
        table_source(statement)

    message = str(raised.value)
    assert message.endswith(".")
    assert message.count(". ") == 0


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (func.lower(goods.c.name), "not a plain column"),
        ("id", "takes columns"),
        ((goods.c.id, orders.c.id), "more than one table"),
    ],
)
def test_keys_that_are_no_columns_of_one_table_are_refused(key: Any, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        table_source(select(goods).join(orders), key=key)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (None, ("id",)),
        (goods.c.sku, ("sku",)),
        ((goods.c.place, goods.c.shelf), ("place", "shelf")),
        (goods.c.shelf, ("shelf", "id")),
        (goods.c.name, ("name", "id")),  # unique on one shelf only
        ((goods.c.name, goods.c.sku), ("name", "sku")),
    ],
)
def test_the_primary_key_is_appended_to_keys_not_proven_unique(
    key: Any, names: tuple[str, ...]
) -> None:
    assert table_source(select(goods), key=key).key_names == names


def test_a_key_with_null_is_refused_unless_no_row_has_one() -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    rows = [{"name": name, "sku": str(n), "shelf": n, "place": n} for n, name in enumerate("abc")]
    everything = table_source(select(goods), key=goods.c.name)
    named = table_source(select(goods).where(goods.c.name.is_not(None)), key=goods.c.name)
    high = table_source(select(goods).where(goods.c.shelf < 5), key=goods.c.name)
    with engine.begin() as connection:
        connection.execute(insert(goods), rows)
        everything.check(connection)
        connection.execute(insert(goods), {"sku": "x", "shelf": 9, "place": 9})

        with pytest.raises(SourceError, match="NULL in the key name, id"):
            everything.check(connection)
        assert everything.null_keys(connection) == 1
        assert everything.until(connection) == ("c", 3)

        for source in (named, high):
            source.check(connection)
            assert source.null_keys(connection) == 0
    engine.dispose()
