"""The job itself: a plain class, which needs neither a request nor a worker."""

from __future__ import annotations

from pyramid_shop.jobs import ProcessWarehouse
from pyramid_shop.models import Product


def test_prices_are_so_much_above_the_cost() -> None:
    products = [Product(cost=100), Product(cost=999)]
    job = ProcessWarehouse(warehouse=1, margin=50)
    job.process(products)  # all that it asks of a chunk is its products
    assert [product.price for product in products] == [150, 1498]


def test_it_takes_one_warehouse() -> None:
    assert "WHERE products.warehouse_id = " in str(ProcessWarehouse(warehouse=7).source())
