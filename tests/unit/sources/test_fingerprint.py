from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import Column, Integer, MetaData, Select, String, Table, literal, select
from sqlalchemy.types import TypeDecorator

from breakbulk.errors import SourceError
from breakbulk.sources import table_source

goods = Table("goods", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))

PROGRAM = """
from sqlalchemy import *
from breakbulk.sources import table_source
goods = Table("goods", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))
statement = select(goods).where(goods.c.name.in_(["a", "b"]), goods.c.id > 5)
print(table_source(statement).fingerprint)
"""


def test_other_processes_come_to_the_same_fingerprint() -> None:
    statement = select(goods).where(goods.c.name.in_(["a", "b"]), goods.c.id > 5)
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == table_source(statement).fingerprint


def test_each_difference_changes_the_fingerprint() -> None:
    plain = select(goods)
    statements: list[Select[*tuple[object, ...]]] = [
        plain,
        plain.where(goods.c.id > 5),
        plain.where(goods.c.id > 6),
        plain.where(goods.c.id >= 6),
        plain.where(goods.c.name.in_(["a", "b"])),
        plain.where(goods.c.name.in_(["a", "c"])),
        select(goods.c.id),
        *(
            plain.where(literal(value) == goods.c.name)
            for value in (
                "1",
                1,
                True,
                Decimal(1),
                UUID(int=1),
                b"1",
                datetime(2024, 1, 1, tzinfo=UTC),
            )
        ),
    ]
    found = [table_source(statement).fingerprint for statement in statements]
    found.append(table_source(plain, key=goods.c.name).fingerprint)

    assert len(set(found)) == len(found)


class Anything(TypeDecorator[object]):
    impl = String
    cache_ok = True


def test_values_without_a_text_of_their_own_are_refused() -> None:
    statement = select(goods).where(goods.c.name == literal(object(), Anything()))

    with pytest.raises(SourceError, match="no text of its own"):
        _ = table_source(statement).fingerprint
