"""The job: everything that Breakbulk has to know."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Select, bindparam, select, update

from breakbulk import Chunk, FinishedRun
from breakbulk.demo.warehouse import Notice, Product

_REPRICE = (
    update(Product)
    .where(Product.id == bindparam("product"))
    .values(price_cents=bindparam("price"), version=Product.version + 1)
)


class ProcessWarehouse:
    """Recalculate the price of every product."""

    rate: Decimal = Decimal("1.05")

    def source(self) -> Select[tuple[Product]]:
        """Every product."""
        return select(Product)

    def process(self, chunk: Chunk[Product]) -> None:
        """Compute new prices, and write them with one statement."""
        prices = [
            {"product": product.id, "price": round(product.price_cents * self.rate)}
            for product in chunk
        ]
        if prices:
            chunk.session.connection().execute(_REPRICE, prices)

    def finished(self, run: FinishedRun) -> None:
        """Leave a notice, which the page shows."""
        done = run.summary
        notice = (
            f"{done.rows_done:,} products processed in {done.chunks_done:,} chunks,"
            f" {done.seconds:.1f} s after submit"
        )
        run.session.add(Notice(run_id=run.id, text=notice))
