"""The shop: a Celery application with one job, as any team might have it.

This file is all there is to it; everything else in this package only sets the scene. It runs
under Celery's own worker, ``celery -A breakbulk.demo.shop worker``, and ``breakbulk -A
breakbulk.demo.shop:bulk runs`` looks at it while the demo goes on.
"""

from __future__ import annotations

from decimal import Decimal

from celery import Celery
from sqlalchemy import Select, bindparam, select, update

from breakbulk import Breakbulk, Chunk, FinishedRun
from breakbulk.demo.place import Place
from breakbulk.demo.warehouse import Notice, Product

place = Place.from_environment()

app = Celery("shop", broker=place.broker)
app.conf.update(
    # Not Celery's own: on a shared broker somebody else's workers may listen there.
    task_default_queue="breakbulk-demo",
    # One message at a time for each worker, as `breakbulk doctor` recommends.
    worker_prefetch_multiplier=1,
    # Neither is needed, and without them nothing but the queue is left on a shared broker.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)

# The lease is a third of the default: nobody should have to wait long to see that the chunk of a
# killed worker is given to another one. All other settings are those of every installation.
bulk = Breakbulk(database=place.database, celery=app, lease_seconds=5)

_REPRICE = (
    update(Product)
    .where(Product.id == bindparam("product"))
    .values(price_cents=bindparam("price"), version=Product.version + 1)
)


@bulk.job(name="ProcessWarehouse", chunk_size=place.chunk_size, max_retries=5, retry_delay=5)
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
        """Leave a notice."""
        done = run.summary
        notice = (
            f"{done.rows_done:,} products processed in {done.chunks_done:,} chunks,"
            f" {done.seconds:.1f} s after submit"
        )
        run.session.add(Notice(run_id=run.id, text=notice))
