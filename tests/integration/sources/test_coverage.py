"""A walk tiles the whole key range, whatever the key and whatever happens meanwhile."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.orm import Session

from breakbulk.domain.keys import decode_key, encode_key
from breakbulk.sources import table_source
from breakbulk.sources import walk as walking
from breakbulk.sources.horizon import Horizon

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sqlalchemy import Engine

    from breakbulk.domain.chunk import Cut, Scout
    from breakbulk.domain.keys import Key
    from breakbulk.sources import TableSource

START = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
WORDS = ["", "a", "A", "ä", "Z", "z z", "ß", "日本", "1", "10", "9", "-", "a\tb", "'", "%s", ":x"]


def any_text(seed: random.Random) -> str:
    return "".join(seed.choice(WORDS) for _ in range(seed.randint(1, 3)))


def any_moment(seed: random.Random) -> datetime:
    return START + timedelta(microseconds=seed.choice([0, 1, 999_999]), minutes=seed.randint(0, 90))


KINDS: dict[str, list[tuple[Any, Callable[[random.Random], Any]]]] = {
    "bigint with holes, negative": [(BigInteger(), lambda r: r.randint(-(2**62), 2**62))],
    "integer": [(Integer(), lambda r: r.randint(-300, 300))],
    "text": [(String(), any_text)],
    "uuid": [(Uuid(), lambda r: UUID(int=r.getrandbits(128)))],
    "bytes": [(LargeBinary(), lambda r: r.randbytes(r.randint(0, 4)))],
    "decimal": [(Numeric(12, 3), lambda r: Decimal(r.randint(-(10**6), 10**6)).scaleb(-3))],
    "double": [(Double(), lambda r: r.choice([r.random(), r.uniform(-1e300, 1e300), 0.1]))],
    "date": [(Date(), lambda r: date(2024, 1, 1) + timedelta(days=r.randint(-400, 400)))],
    "moment, ties broken": [
        (DateTime(timezone=True), any_moment),
        (Integer(), lambda r: r.randint(1, 9)),
    ],
    "naive moment, ties broken": [
        (DateTime(), lambda r: any_moment(r).replace(tzinfo=None)),
        (Integer(), lambda r: r.randint(1, 9)),
    ],
    "three columns": [
        (Boolean(), lambda r: r.random() < 0.5),
        (String(), any_text),
        (Integer(), lambda r: r.randint(-3, 3)),
    ],
}


class Warehouse:
    """A table with some kind of key, and rows that match a filter or do not."""

    def __init__(self, engine: Engine, kind: str, seed: random.Random) -> None:
        self.engine, self.seed = engine, seed
        self.kind = KINDS[kind]
        self.table = Table(
            "goods",
            MetaData(),
            *(
                Column(f"k{n}", type_, primary_key=True, autoincrement=False)
                for n, (type_, _) in enumerate(self.kind)
            ),
            Column("active", Boolean, nullable=False),
        )
        self.table.create(engine)

    def add(self, rows: int, density: float) -> None:
        had = {in_column(key) for key in self.keys_now()}
        new = {
            in_column(tuple(make(self.seed) for _, make in self.kind)): None for _ in range(rows)
        }
        given = [
            {f"k{n}": value for n, value in enumerate(key)}
            | {"active": self.seed.random() < density}
            for key in new
            if key not in had
        ]
        if given:
            with self.engine.begin() as connection:
                connection.execute(insert(self.table), given)

    def lose(self, share: float) -> None:
        columns = list(self.table.primary_key)
        with self.engine.begin() as connection:
            for key in self.keys_now():
                if self.seed.random() < share:
                    connection.execute(
                        delete(self.table).where(
                            *(c == v for c, v in zip(columns, key, strict=True))
                        )
                    )

    def keys_now(self, *, active: bool | None = None) -> set[Key]:
        statement = select(*self.table.primary_key)
        if active is not None:
            statement = statement.where(self.table.c.active.is_(active))
        with self.engine.connect() as connection:
            return {tuple(row) for row in connection.execute(statement)}


def in_column(key: Key) -> Key:
    """A key without its zone, which is UTC, and which SQLite does not keep."""
    return tuple(v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in key)


def stored(key: Key) -> Key:
    """A key after its journey through the ledger."""
    return decode_key(encode_key(key))


def walk_all(
    engine: Engine,
    make: Callable[[], TableSource],
    *,
    chunk_size: int,
    chunks: int,
    between: Callable[[], None] = lambda: None,
) -> list[Cut]:
    source = make()
    cuts: list[Cut] = []
    with engine.connect() as connection:
        until = source.until(connection)
    assert until is not None
    after: Key | None = None
    scout: Scout | None = None
    for turn in range(5_000):
        if turn % 3 == 0:
            source = make()  # another process
        with engine.connect() as connection:
            walk = source.walk(
                connection,
                after=after,
                scout=scout,
                until=until,
                chunk_size=chunk_size,
                chunks=chunks,
            )
        assert len(walk.cuts) <= chunks
        for cut in walk.cuts:
            assert cut.bounds.after == after
            after = stored(cut.bounds.upto)
        cuts += walk.cuts
        scout = walk.scout
        if walk.reached_end:
            assert after == until
            return cuts
        assert walk.cuts or walk.scout is not None
        between()
    raise AssertionError("The walk does not end.")


@pytest.fixture
def windows(seed: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual windows, or ones so small that a few rows need many of them; leaps, or none."""
    if seed.random() < 0.5:
        monkeypatch.setattr(walking, "LEAPS_PAY", 1)
    if seed.random() < 0.7:
        monkeypatch.setattr(walking, "FIRST_WINDOW", 3)
        monkeypatch.setattr(walking, "LARGEST_WINDOW", 20)
        monkeypatch.setattr(walking, "KEYS_PER_WALK", seed.choice([20, 40, 400]))
        monkeypatch.setattr(walking, "ENOUGH_TO_JUDGE", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_in_exactly_one_chunk_while_rows_come_and_go(
    engine: Engine, kind: str, seed: random.Random, windows: None
) -> None:
    goods = Warehouse(engine, kind, seed)
    density = seed.choice([0.02, 0.3, 0.9])
    goods.add(seed.randint(1, 250), density)
    filtered = seed.random() < 0.7
    statement = select(goods.table)
    if filtered:
        statement = statement.where(goods.table.c.active)
    at_submit = goods.keys_now(active=True if filtered else None)

    def meanwhile() -> None:
        goods.lose(seed.choice([0, 0, 0.05]))
        goods.add(seed.randint(0, 5), density)

    cuts = walk_all(
        engine,
        lambda: table_source(statement),
        chunk_size=seed.randint(1, 40),
        chunks=seed.randint(1, 5),
        between=meanwhile,
    )

    source = table_source(statement)
    met: list[Key] = []
    with engine.connect() as connection:
        for cut in cuts:
            met += source.keys(connection, cut.bounds)
    assert len(met) == len(set(met))
    still_there = goods.keys_now(active=True if filtered else None)
    reached = {stored(key) for key in at_submit & still_there}
    assert reached <= set(met)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_full_but_for_the_last_one(
    engine: Engine, kind: str, seed: random.Random, windows: None
) -> None:
    goods = Warehouse(engine, kind, seed)
    goods.add(100, 0.5)
    statement = select(goods.table).where(goods.table.c.active)
    source = table_source(statement)
    with engine.connect() as connection:
        source.check(connection)
    size = seed.randint(1, 10)

    cuts = walk_all(engine, lambda: table_source(statement), chunk_size=size, chunks=3)

    rows = len(goods.keys_now(active=True))
    assert [cut.rows for cut in cuts[:-1]] == [size] * (len(cuts) - 1)
    assert sum(cut.rows for cut in cuts) == rows
    with Session(engine) as session:
        for cut in cuts:
            assert len(list(source.rows(session, cut.bounds))) == cut.rows
            keys = list(source.keys(session, cut.bounds))
            assert [source.key_of(row) for row in source.rows(session, cut.bounds)] == keys
            where = select(goods.table).where(source.condition(cut.bounds))
            assert len(session.execute(where).all()) == cut.rows


@pytest.mark.parametrize("kind", KINDS)
def test_leaps_end_where_numbering_does(
    postgres_engine: Engine, kind: str, seed: random.Random
) -> None:
    goods = Warehouse(postgres_engine, kind, seed)
    goods.add(200, 0.5)
    horizon = Horizon(table_source(select(goods.table))._space)
    size = seed.randint(1, 7)
    with postgres_engine.connect() as connection:
        until = table_source(select(goods.table)).until(connection)
        assert until is not None
        for chunks in (1, 5, 200):
            leaps = horizon.leap(connection, None, until, size=size, chunks=chunks)
            assert leaps
            limit = size * chunks
            numbered = horizon.marks(connection, None, until, seen=0, size=size, limit=limit)
            assert leaps == [mark for mark in numbered if mark.full]
            behind = horizon.leap(connection, leaps[0].key, until, size=size, chunks=chunks)
            assert [mark.key for mark in behind or []][: chunks - 1] == [
                mark.key for mark in leaps[1:]
            ]


def test_what_is_no_plain_table_with_that_key_is_not_leapt_over(
    postgres_engine: Engine, seed: random.Random
) -> None:
    """A view has no index, so each leap would sort all of it."""
    goods = Warehouse(postgres_engine, "integer", seed)
    goods.add(50, 0.5)
    with postgres_engine.begin() as connection:
        connection.execute(text("CREATE VIEW shown AS SELECT * FROM goods"))
        connection.execute(text("CREATE TABLE kin () INHERITS (goods)"))
        for name in ("shown", "goods"):
            table = goods.table.to_metadata(MetaData(), name=name)
            horizon = Horizon(table_source(select(table))._space)
            assert horizon.leap(connection, None, (300,), size=2, chunks=5) is None


def test_leaps_are_of_no_use_at_the_end(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch, seed: random.Random
) -> None:
    monkeypatch.setattr(walking, "LEAPS_PAY", 1)
    goods = Warehouse(postgres_engine, "integer", seed)
    goods.add(100, 0.5)
    rows = len(goods.keys_now())
    statement = select(goods.table)
    cuts = walk_all(postgres_engine, lambda: table_source(statement), chunk_size=7, chunks=4)
    assert [cut.rows for cut in cuts] == [7] * (rows // 7) + [rows % 7] * bool(rows % 7)
