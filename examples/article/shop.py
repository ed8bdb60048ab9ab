"""What the article's listing takes for granted: a Celery application, a table, and work to do."""

from __future__ import annotations

import gzip
import os
from functools import cache

from celery import Celery
from sqlalchemy import Engine, create_engine, func, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from breakbulk import Breakbulk
from breakbulk.demo.catalogue import packages

DATABASE = os.environ.get("SHOP_DATABASE", "postgresql+psycopg:///shop")
BROKER = os.environ.get("SHOP_BROKER", "redis://localhost")
#: A gzipped file whose lines begin with a name and a tab, below a heading; default ours.
CATALOGUE = os.environ.get("SHOP_CATALOGUE")
#: The article's minute.
RETRY_SECONDS = float(os.environ.get("SHOP_RETRY_SECONDS", "60"))

# Celery's chord needs a result backend; Breakbulk needs the line with its name.
celery = Celery("shop", broker=BROKER, backend=os.environ.get("SHOP_RESULTS", BROKER))
celery.conf.task_default_queue = os.environ.get("SHOP_QUEUE", "celery")
bulk = Breakbulk(database=DATABASE, celery=celery)


class Base(DeclarativeBase):
    """The shop's tables."""


class Product(Base):
    """A package of the catalogue; its place there, from 0, is its number."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    version: Mapped[int] = mapped_column(default=0)


class Warehouse(Base):
    """The one warehouse: how often all of it was processed."""

    __tablename__ = "warehouses"

    id: Mapped[int] = mapped_column(primary_key=True)
    times: Mapped[int] = mapped_column(default=0)


@cache
def engine() -> Engine:
    """This process's connections; who has to wait for somebody's lock fails, and tries again."""
    return create_engine(DATABASE, connect_args={"options": "-c lock_timeout=500"})


def count() -> int:
    """How many products there are."""
    with Session(engine()) as session:
        return session.scalar(select(func.count()).select_from(Product)) or 0


def process(start: int, end: int) -> None:
    """Process the products from one place to another."""
    with Session(engine()) as session, session.begin():
        here = Product.id >= start, Product.id < end
        session.execute(update(Product).where(*here).values(version=Product.version + 1))


def finish() -> None:
    """Note that the warehouse was processed."""
    with Session(engine()) as session, session.begin():
        session.execute(update(Warehouse).values(times=Warehouse.times + 1))


def names() -> list[str]:
    """The packages: those of the catalogue that comes with Breakbulk, or of a larger one."""
    if CATALOGUE is None:
        return [one.name for one in packages()]
    with gzip.open(CATALOGUE, "rt", encoding="utf-8", newline="\n") as lines:
        next(lines)
        return [line.partition("\t")[0] for line in lines]


def main() -> None:
    """Create the tables, the ledger's, too, and fill the shelves with the whole catalogue."""
    bulk.upgrade()
    Base.metadata.create_all(engine())
    with Session(engine()) as session, session.begin():
        shelves = [{"id": place, "name": name} for place, name in enumerate(names())]
        session.execute(insert(Product), shelves)
        session.add(Warehouse(id=1))
    print(f"{len(shelves)} products are on the shelves.")


if __name__ == "__main__":
    main()
