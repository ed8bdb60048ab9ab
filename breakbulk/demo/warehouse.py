"""The warehouse: its tables, and how they are filled with a million products in seconds."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from breakbulk.demo.catalogue import packages

_BIG = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """All tables of the demo; their names do not meet anybody else's in a shared database."""


class Product(Base):
    """A product, which is a release of a Python package."""

    __tablename__ = "breakbulk_demo_product"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False)
    name: Mapped[str]
    release: Mapped[str | None]
    month: Mapped[str | None]
    rank: Mapped[int]
    price_cents: Mapped[int] = mapped_column(_BIG)
    #: How often the product was processed. The database counts (``version = version + 1``), so
    #: that whoever processes it a second time cannot hide it.
    version: Mapped[int]


class Notice(Base):
    """What ``finished`` writes."""

    __tablename__ = "breakbulk_demo_notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_BIG)
    text: Mapped[str]


class Expectation(Base):
    """What the warehouse has to look like after a run, written down before it."""

    __tablename__ = "breakbulk_demo_expectation"

    #: The idempotency key that the run is submitted with.
    key: Mapped[str] = mapped_column(primary_key=True)
    products: Mapped[int] = mapped_column(_BIG)
    #: Of every product: one more than before the run.
    version: Mapped[int]


def stock(connection: Connection) -> dict[int, int]:
    """Return how many products there are of each version."""
    query = select(Product.version, func.count()).group_by(Product.version)
    return dict(connection.execute(query).all())


def expect(session: Session, key: str) -> None:
    """Write down what a run has to make of the warehouse, before it begins.

    So nobody can say it was made to fit. Where an earlier run has left products of several
    versions behind, there is nothing simple to expect, and nothing is written.

    Args:
        key: the run's idempotency key.
    """
    found = stock(session.connection())
    if len(found) == 1:
        ((version, products),) = found.items()
        session.add(Expectation(key=key, products=products, version=version + 1))


def build(engine: Engine) -> None:
    """Make the tables, unless they are there."""
    Base.metadata.create_all(engine)


def fill(engine: Engine, products: int, tell: Callable[[int], None]) -> bool:
    """Make sure that the warehouse holds that many products, all of the same version.

    One that does already is left alone. Any other is filled anew, in one transaction, so that
    being interrupted leaves no half-full one. Only the catalogue travels to the database, once;
    the products are copied from it by the server, which takes a fifth of the time of sending
    them, and works on every database alike.

    Args:
        tell: called now and then with the number of products so far.

    Returns:
        Whether it was filled.
    """
    build(engine)
    with engine.connect() as connection:
        found = stock(connection)
    full = list(found.values()) == [products]
    if not full:
        _fill(engine, products, tell, again=bool(found))
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        # The planner's estimate is what the progress bar begins with.
        connection.execute(text(f"ANALYZE {Product.__tablename__}"))
    return not full


def _fill(engine: Engine, products: int, tell: Callable[[int], None], *, again: bool) -> None:
    with engine.begin() as connection:
        if again:
            Product.__table__.drop(connection)  # type: ignore[attr-defined]
            Product.__table__.create(connection)  # type: ignore[attr-defined]
        catalogue = _catalogue()
        catalogue.create(connection)
        rows = [package._asdict() for package in packages()]
        for position, row in enumerate(rows, start=1):
            row["position"] = position
        connection.execute(insert(catalogue), rows)
        for done in range(0, products, len(rows)):
            tell(done)
            copied = select(
                catalogue.c.position + literal(done, _BIG),
                *(catalogue.c[name] for name in ("name", "release", "month", "rank")),
                # What nobody downloads is cheap.
                literal(100) + 2_000_000 // (catalogue.c.rank + 100),
                literal(0),
            ).where(catalogue.c.position <= products - done)
            columns = ["id", "name", "release", "month", "rank", "price_cents", "version"]
            connection.execute(
                insert(Product).from_select(columns, copied.order_by(catalogue.c.position))
            )
        catalogue.drop(connection)
    tell(products)


def _catalogue() -> Table:
    return Table(
        "breakbulk_demo_catalogue",
        MetaData(),
        Column("position", Integer, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False),
        Column("release", Text),
        Column("month", Text),
        Column("rank", Integer, nullable=False),
        prefixes=["TEMPORARY"],
    )
