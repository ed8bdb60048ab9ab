"""A shop in one file: its Celery application, its tables, and one job over all its products.

Start workers as always, then run the job:

    celery -A shop worker
    breakbulk -A shop:bulk run ProcessWarehouse -p rate=1.05 --watch

Run once before: ``breakbulk -A shop:bulk db upgrade`` and ``python shop.py``, which creates the
shop's own tables and puts a thousand products into them.
"""

from __future__ import annotations

import os
from decimal import Decimal

from celery import Celery
from sqlalchemy import Numeric, Select, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from breakbulk import Breakbulk, Chunk, FinishedRun

DATABASE = os.environ.get("SHOP_DATABASE", "postgresql+psycopg:///shop")
BROKER = os.environ.get("SHOP_BROKER", "redis://localhost")

app = Celery("shop", broker=BROKER)
app.conf.task_default_queue = os.environ.get("SHOP_QUEUE", "celery")
bulk = Breakbulk(database=DATABASE, celery=app)


class Base(DeclarativeBase):
    """The shop's tables."""


class Product(Base):
    """Something on the shelves."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    price: Mapped[Decimal] = mapped_column(Numeric(12, 4))
    version: Mapped[int] = mapped_column(default=0)


class Notice(Base):
    """Something to tell the shopkeeper."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@bulk.job(chunk_size=500, max_retries=5, retry_delay=60)
class ProcessWarehouse:
    """Recalculate the price of every product."""

    rate: Decimal = Decimal("1.01")

    def source(self) -> Select[Product]:
        """Every product on sale."""
        return select(Product).where(Product.active)

    def process(self, chunk: Chunk[Product]) -> None:
        """Raise the prices of one chunk."""
        for product in chunk:
            product.price *= self.rate
            product.version += 1

    def finished(self, run: FinishedRun) -> None:
        """Tell the shopkeeper."""
        run.session.add(Notice(text=f"{run.summary.rows_done} products processed"))


def main() -> None:
    """Create the tables and fill the shelves."""
    engine = create_engine(DATABASE)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(Product),
            [
                {"name": f"product {number}", "price": Decimal(number), "version": 0}
                for number in range(1, 1001)
            ],
        )
    engine.dispose()
    print("1000 products are on the shelves.")


if __name__ == "__main__":
    main()
