"""The application that is measured: models, work and jobs, as a user would write them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

from celery import Celery
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, func, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from breakbulk import Breakbulk, Chunk, FinishedRun, Items, job

DATABASE = "BREAKBULK_BENCH_DATABASE"
BROKER = "BREAKBULK_BENCH_BROKER"
ROWS_A_CHUNK = 50
"""Of the jobs over narrow rows whose chunks do nothing."""
SPARSE_EVERY = 100_000
"""One row in so many matches the sparse job's filter."""
MOMENTS = "moments (run bigint, name text, at double precision)"
FIRST, LAST = "first", "last"
"""The moments that a timed run notes: its first chunk is at work, and it is called back."""

app = Celery("bench", broker=os.environ.get(BROKER))
bulk = Breakbulk(database=lambda: os.environ[DATABASE], celery=app)


class Base(DeclarativeBase):
    """The shop's tables."""


class Product(Base):
    """A package of the catalogue."""

    __tablename__ = "product"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
    release: Mapped[str]
    month: Mapped[str]
    score: Mapped[int] = mapped_column(default=0)
    changes: Mapped[int] = mapped_column(default=0)


PRODUCTS = select(Product.id, Product.name, Product.release, Product.month)

RATED = {
    "score": func.length(Product.name) * 31 + func.length(Product.release),
    "changes": Product.changes + 1,
}

_STORE = text(
    "UPDATE product SET score = new.score, changes = changes + 1"
    " FROM unnest(CAST(:ids AS bigint[]), CAST(:scores AS integer[])) AS new (id, score)"
    " WHERE product.id = new.id"
)
_COME = text("INSERT INTO warmed VALUES (:pid)")
_NOTE = text("INSERT INTO moments VALUES (:run, :name, :at)")


def work(session: Session, products: Iterable[Any]) -> None:
    """Score some products in Python and store all scores with one UPDATE.

    It is called by Breakbulk's job and by the hand-written loop.
    """
    ids, scores = [], []
    for product in products:
        ids.append(product.id)
        scores.append(_score(product.name, product.release, product.month))
    session.execute(_STORE, {"ids": ids, "scores": scores})


def _score(name: str, release: str, month: str) -> int:
    words = name.lower().replace("_", "-").split("-")
    parts = [int(part) if part.isdigit() else len(part) for part in release.split(".")[:3]]
    year, _, rest = month.partition("-")
    age = (int(year) * 12 + int(rest)) if year.isdigit() and rest.isdigit() else 0
    weight = sum(ord(letter) * place for place, letter in enumerate(name, 1))
    return (weight * len(words) + sum(parts) % 1000 + age) % 1_000_003


@cache
def narrow(rows: int) -> Table:
    """Return the table of so many narrow rows."""
    return Table(
        f"narrow_{rows}",
        MetaData(),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("kind", Integer, nullable=False),
        Column("changes", Integer, nullable=False),
    )


@job(chunk_size=500)
class Score:
    """The real job: a key range is fetched, worked on in Python and updated."""

    def source(self) -> Any:
        return PRODUCTS

    def process(self, chunk: Chunk[Any]) -> None:
        work(chunk.session, chunk)


@job(chunk_size=ROWS_A_CHUNK)
class Nothing:
    """Chunks that cost nothing but what Breakbulk itself does for them."""

    rows: int

    def source(self) -> Any:
        return select(narrow(self.rows))

    def process(self, chunk: Chunk[Any]) -> None:
        """Do nothing."""


@job(chunk_size=500)
class Rate:
    """The same rows, changed by one UPDATE a chunk that fetches nothing."""

    def source(self) -> Any:
        return select(Product)

    def process(self, chunk: Chunk[Any]) -> None:
        chunk.session.execute(update(Product).where(chunk.where).values(RATED))


@job(chunk_size=ROWS_A_CHUNK, max_retries=0, on_failure="skip", tolerate="100%")
class Fail:
    """Every other chunk fails once, in its own way, and is skipped.

    If none succeeded the run would be held, and rightly so.
    """

    rows: int

    def source(self) -> Any:
        return select(narrow(self.rows))

    def process(self, chunk: Chunk[Any]) -> None:
        if chunk.number % 2:
            raise RuntimeError(f"chunk {chunk.number} cannot be done")


@job(chunk_size=ROWS_A_CHUNK)
class Listed:
    """Items of an iterable, with which nothing is done."""

    items: int

    def source(self) -> Any:
        return Items(range(self.items))

    def process(self, chunk: Chunk[Any]) -> None:
        """Do nothing."""


@job(chunk_size=50)
class Warm:
    """Brings a worker's processes to work, and notes which of them have come."""

    def source(self) -> Any:
        return select(narrow(1000))

    def process(self, chunk: Chunk[Any]) -> None:
        chunk.session.execute(_COME, {"pid": os.getpid()})
        # Until all have, or one would do everything.
        time.sleep(0.02)


@job(chunk_size=500)
class Timed:
    """Notes by the machine's clock when it begins and when it is called back."""

    rows: int

    def source(self) -> Any:
        return select(narrow(self.rows))

    def process(self, chunk: Chunk[Any]) -> None:
        if chunk.number == 1:
            now = time.time()
            chunk.session.execute(_NOTE, {"run": chunk.run.id, "name": FIRST, "at": now})

    def finished(self, run: FinishedRun) -> None:
        now = time.time()
        run.session.execute(_NOTE, {"run": run.id, "name": LAST, "at": now})


@job(chunk_size=500)
class Touch:
    """Read and change every row of a narrow table."""

    rows: int

    def source(self) -> Any:
        return select(narrow(self.rows))

    def process(self, chunk: Chunk[Any]) -> None:
        for _row in chunk:
            pass
        table = narrow(self.rows)
        chunk.session.execute(update(table).where(chunk.where).values(changes=table.c.changes + 1))


@job(chunk_size=500)
class Sparse:
    """A filter that few rows match and no index serves.

    Parameters:
        change: whether the rows are changed, for which the database has to find them again.
    """

    rows: int
    change: bool

    def source(self) -> Any:
        return select(narrow(self.rows)).where(narrow(self.rows).c.kind == 0)

    def process(self, chunk: Chunk[Any]) -> None:
        table = narrow(self.rows)
        if self.change:
            chunk.session.execute(
                update(table).where(chunk.where).values(changes=table.c.changes + 1)
            )
