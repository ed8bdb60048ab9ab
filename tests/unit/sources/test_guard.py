from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from breakbulk.errors import KeyChanged
from breakbulk.sources import guard_key, table_source

if TYPE_CHECKING:
    from collections.abc import Iterator


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    cost: Mapped[int] = mapped_column("price")
    name: Mapped[str]
    changed: Mapped[int] = mapped_column(default=0, onupdate=func.random())


class Other(Base):
    __tablename__ = "other"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Product(id=n, cost=n, name="x") for n in range(5)])
        session.add(Other(id=1, price=1))
        session.commit()
        yield session
    engine.dispose()


def by_price() -> Any:
    return table_source(select(Product), key=Product.cost)


def test_a_key_that_was_assigned_is_refused_at_flush(session: Session) -> None:
    guard_key(session, by_price())
    for product in session.scalars(select(Product)):
        product.cost += 1

    with pytest.raises(KeyChanged, match=r"product\.price, by which the rows are walked"):
        session.flush()


def test_what_is_no_change_of_the_key_is_let_be(session: Session) -> None:
    guard_key(session, by_price())
    product, other = session.get_one(Product, 1), session.get_one(Other, 1)

    product.name = "y"
    product.cost = product.cost
    other.price = 7
    session.flush()
    session.execute(update(Product).values(name="z"))
    session.execute(update(Other).values(price=8))
    session.execute(update(Product), [{"id": 1, "name": "w"}])
    session.add(Product(id=9, cost=9, name="new"))
    session.flush()


@pytest.mark.parametrize(
    "statement",
    [
        update(Product).values(cost=5),
        update(Product).values({Product.cost: Product.cost + 1}),
        update(Product).where(Product.id == 1).values({"cost": 5}),
        update(Product.__table__).values(price=5),  # type: ignore[arg-type]
        update(Product).ordered_values((Product.cost, 5)),
    ],
)
def test_an_update_of_the_key_is_refused(session: Session, statement: Any) -> None:
    guard_key(session, by_price())

    with pytest.raises(KeyChanged):
        session.execute(statement)


def test_an_update_of_the_key_by_rows_is_refused(session: Session) -> None:
    guard_key(session, by_price())

    with pytest.raises(KeyChanged):
        session.execute(update(Product), [{"id": 1, "cost": 5}])


def test_a_key_that_moves_with_every_update_is_refused(session: Session) -> None:
    guard_key(session, table_source(select(Product), key=Product.changed))
    with pytest.raises(KeyChanged, match="changed"):
        session.execute(update(Product).values(name="z"))

    session.get_one(Product, 1).name = "y"
    with pytest.raises(KeyChanged, match="changed"):
        session.flush()


def test_a_later_call_replaces_the_source(session: Session) -> None:
    guard_key(session, by_price())
    guard_key(session, table_source(select(Product)))
    session.get_one(Product, 1).cost = 77
    session.flush()
    guard_key(session, object())
    session.get_one(Product, 1).id = 78
    session.flush()
