"""Which rows a source gives for the statements that people write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, ForeignKey, event, exists, select, text, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from breakbulk.domain.chunk import Bounds
from breakbulk.errors import SourceError
from breakbulk.sources import table_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk.domain.chunk import Cut, Scout
    from breakbulk.domain.keys import Key
    from breakbulk.sources import TableSource


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    active: Mapped[bool]
    price: Mapped[int] = mapped_column("cost")
    lines: Mapped[list[Line]] = relationship(back_populates="product", order_by="Line.id")


class Line(Base):
    __tablename__ = "line"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id))
    product: Mapped[Product] = relationship(back_populates="lines")


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Bird(Animal):
    __tablename__ = "bird"
    id: Mapped[int] = mapped_column(ForeignKey(Animal.id), primary_key=True)
    span: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "bird"}  # noqa: RUF012


PRODUCTS = range(-10, 50)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Product(id=n, active=n % 3 == 0, price=n % 7) for n in PRODUCTS)
        session.flush()
        # Product n has n % 4 lines.
        session.add_all(Line(product_id=n) for n in PRODUCTS for _ in range(n % 4))
        session.add_all(
            kind(id=n, **({"span": n} if kind is Bird else {}))
            for n, kind in enumerate([Animal, Dog, Bird] * 8)
        )
        session.commit()
        yield session


def chunks_of(session: Session, source: TableSource, chunk_size: int, chunks: int = 2) -> list[Cut]:
    connection = session.connection()
    source.check(connection)
    until = source.until(connection)
    assert until is not None
    cuts: list[Cut] = []
    after: Key | None = None
    scout: Scout | None = None
    for _ in range(1_000):
        walk = source.walk(
            connection, after=after, scout=scout, until=until, chunk_size=chunk_size, chunks=chunks
        )
        cuts += walk.cuts
        scout = walk.scout
        after = cuts[-1].bounds.upto if cuts else None
        if walk.reached_end:
            return cuts
    raise AssertionError("The walk does not end.")


def product_ids(rows: list[Any]) -> list[int]:
    return [row.id for row in rows]


def test_an_entity_gives_objects(session: Session) -> None:
    source = table_source(select(Product).where(Product.active))

    cuts = chunks_of(session, source, 7)

    chunks = [list(source.rows(session, cut.bounds)) for cut in cuts]
    assert [len(chunk) for chunk in chunks] == [cut.rows for cut in cuts] == [7, 7, 6]
    assert all(isinstance(product, Product) for chunk in chunks for product in chunk)
    assert [source.key_of(product) for product in chunks[0]] == list(
        source.keys(session, cuts[0].bounds)
    )
    assert source.key_attributes == ("id",)
    assert source.entity is Product


def test_columns_give_rows(session: Session) -> None:
    source = table_source(select(Product.id, Product.price))
    (row, *_) = source.rows(session, Bounds(None, (5,)))

    assert tuple(row) == (-10, 4)
    assert source.key_of(row) == (-10,)


def test_a_row_that_lacks_its_key_says_so(session: Session) -> None:
    source = table_source(select(Product.price))
    (row, *_) = source.rows(session, Bounds(None, (5,)))

    with pytest.raises(SourceError, match="select id, too"):
        source.key_of(row)


def test_the_condition_updates_exactly_the_rows(session: Session) -> None:
    source = table_source(select(Product).where(Product.active))
    cut = chunks_of(session, source, 7)[1]
    wanted = product_ids(list(source.rows(session, cut.bounds)))

    condition = source.condition(cut.bounds)
    assert "SELECT" not in str(condition)
    session.execute(update(Product).where(condition).values(price=100))

    assert sorted(session.scalars(select(Product.id).where(Product.price == 100))) == wanted


@pytest.mark.parametrize("key", ["product", "line"])
def test_rows_of_one_key_stay_together(session: Session, key: str) -> None:
    column: Any = {"product": Product.id, "line": Line.id}[key]
    statement = select(Product, Line).join(Line, Line.product_id == Product.id)
    source = table_source(statement.where(Product.active), key=column)

    cuts = chunks_of(session, source, 4)

    chunks = [list(source.rows(session, cut.bounds)) for cut in cuts]
    assert [len(chunk) for chunk in chunks] == [cut.rows for cut in cuts]
    found = [(product.id, line.id) for chunk in chunks for product, line in chunk]
    wanted = session.execute(statement.where(Product.active)).all()
    assert sorted(found) == sorted((product.id, line.id) for product, line in wanted)
    keys = [set(source.keys(session, cut.bounds)) for cut in cuts]
    assert sum(len(some) for some in keys) == len(set().union(*keys))
    assert all(
        source.key_of(row) in some
        for chunk, some in zip(chunks, keys, strict=True)
        for row in chunk
    )
    assert source.count(session.connection(), None) == len(wanted)


def test_the_condition_of_a_join_is_about_its_key(session: Session) -> None:
    source = table_source(select(Product).join(Line).where(Line.id > 20), key=Product.id)
    cut = chunks_of(session, source, 5)[0]
    wanted = {product.id for product in source.rows(session, cut.bounds)}

    session.execute(
        update(Product)
        .where(source.condition(cut.bounds))
        .values(price=100)
        .execution_options(synchronize_session=False)
    )

    assert set(session.scalars(select(Product.id).where(Product.price == 100))) == wanted


def test_an_outer_join_whose_key_may_be_missing_is_refused(session: Session) -> None:
    source = table_source(select(Product, Line).outerjoin(Line), key=Line.id)

    with pytest.raises(SourceError, match="NULL in the key id"):
        source.check(session.connection())
    assert source.null_keys(session.connection()) == 15


@pytest.mark.parametrize("load", [joinedload, selectinload])
def test_eager_loads_work(session: Session, load: Any) -> None:
    source = table_source(select(Product).options(load(Product.lines)))

    cuts = chunks_of(session, source, 25)

    products = [product for cut in cuts for product in source.rows(session, cut.bounds)]
    assert [len(product.lines) for product in products] == [n % 4 for n in PRODUCTS]


def test_subclasses_without_a_table_find_their_own_rows(session: Session) -> None:
    source = table_source(select(Dog))

    cuts = chunks_of(session, source, 3)

    assert [cut.rows for cut in cuts] == [3, 3, 2]
    dogs = [dog for cut in cuts for dog in source.rows(session, cut.bounds)]
    assert {dog.kind for dog in dogs} == {"dog"}
    assert len(dogs) == 8


def test_subclasses_with_a_table_are_walked_like_one(session: Session) -> None:
    source = table_source(select(Bird).where(Bird.span > 5))

    cuts = chunks_of(session, source, 3)

    birds = [bird for cut in cuts for bird in source.rows(session, cut.bounds)]
    assert [bird.span for bird in birds] == [8, 11, 14, 17, 20, 23]
    assert [cut.rows for cut in cuts] == [3, 3]
    assert source.key_of(birds[0]) == (8,)


def test_an_alias_is_walked(session: Session) -> None:
    other = aliased(Product)
    source = table_source(select(other).where(other.active, other.price == 3), key=other.price)

    cuts = chunks_of(session, source, 2)

    assert source.key_names == ("cost", "id")
    rows = [row for cut in cuts for row in source.rows(session, cut.bounds)]
    assert product_ids(rows) == [3, 24, 45]
    session.execute(
        update(Product)
        .where(source.condition(cuts[0].bounds))
        .values(price=100)
        .execution_options(synchronize_session=False)
    )
    assert sorted(session.scalars(select(Product.id).where(Product.price == 100))) == [3, 24]


def test_subqueries_in_the_filter_are_walked(session: Session) -> None:
    has_lines = exists().where(Line.product_id == Product.id)
    source = table_source(select(Product).where(has_lines))

    cuts = chunks_of(session, source, 10)

    assert sum(cut.rows for cut in cuts) == sum(1 for n in PRODUCTS if n % 4)


def test_a_core_table_is_walked(session: Session) -> None:
    table = Base.metadata.tables["product"]
    source = table_source(select(table), key=(table.c.active, table.c.cost))

    cuts = chunks_of(session, source, 10)

    assert source.key_names == ("active", "cost", "id")
    rows = [row for cut in cuts for row in source.rows(session, cut.bounds)]
    assert len(rows) == len(PRODUCTS)
    assert [source.key_of(row) for row in rows] == sorted(source.key_of(row) for row in rows)


def test_an_empty_table_has_no_last_key(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    source = table_source(select(Product))
    with engine.connect() as connection:
        source.check(connection)
        assert source.until(connection) is None
        assert source.count(connection, None) == 0


def test_counts_and_guesses(session: Session) -> None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("ANALYZE product"))
    source = table_source(select(Product).where(Product.active))
    connection = session.connection()

    assert source.count(connection, None) == 20
    assert source.count(connection, (0,)) == 4
    guess = source.estimate(connection)
    assert guess is not None
    assert 10 <= guess <= 30


def test_a_lower_chunk_size_counts_from_the_next_walk(session: Session) -> None:
    source = table_source(select(Product).where(Product.price == 3))
    connection = session.connection()
    first = source.walk(
        connection, after=None, scout=None, until=(49,), chunk_size=5, chunks=1
    ).cuts[0]
    again = table_source(select(Product).where(Product.price == 3))
    walk = again.walk(
        connection, after=first.bounds.upto, scout=None, until=(49,), chunk_size=2, chunks=1
    )

    assert (first.rows, [cut.rows for cut in walk.cuts]) == (5, [2])


def test_the_text_of_the_statements_never_changes(session: Session) -> None:
    source = table_source(select(Product).where(Product.active))
    texts: list[str] = []

    @event.listens_for(session.connection(), "before_cursor_execute")
    def _note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        texts.append(statement)

    for size in (1, 2, 3):
        chunks_of(session, source, size, chunks=size)

    # The ends; and with and without a lower bound, where the window ends and the chunks in it.
    assert len(set(texts)) <= 2 + 2 * 2
    assert not [statement for statement in texts if "GROUP BY" in statement]
    if session.get_bind().dialect.name == "postgresql":  # on SQLite SQLAlchemy adds one of 0
        assert not [statement for statement in texts if "OFFSET" in statement]
