"""Work that is too much for a request."""

from __future__ import annotations

from sqlalchemy import Select, select

import breakbulk
from breakbulk import Chunk
from pyramid_shop.models import Product
from pyramid_shop.pricing import reprice


@breakbulk.job(name="process-warehouse", chunk_size=500, max_retries=5, retry_delay=60)
class ProcessWarehouse:
    """Set the price of every product in a warehouse."""

    warehouse: int
    margin: int = 20

    def source(self) -> Select[Product]:
        """Every product in it."""
        return select(Product).where(Product.warehouse_id == self.warehouse)

    def process(self, chunk: Chunk[Product]) -> None:
        """Five hundred of them, in one transaction."""
        for product in chunk:
            reprice(product, self.margin)
