"""Fill the warehouses: ``initialize_pyramid_shop_db development.ini``."""

from __future__ import annotations

import argparse

from pyramid.paster import bootstrap, setup_logging
from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from zope.sqlalchemy import mark_changed

from pyramid_shop.models import Product, Warehouse

_BATCH = 10_000


def setup_models(session: Session, products: int) -> None:
    """Build two warehouses, unless there are any."""
    if session.scalars(select(Warehouse)).first() is not None:
        return
    for number, name in enumerate(("Harbour", "Hill"), 1):
        session.add(Warehouse(id=number, name=name))
        session.flush()
        for start in range(0, products // number, _BATCH):
            session.execute(
                insert(Product),
                [
                    {
                        "warehouse_id": number,
                        "name": f"product {one}",
                        "cost": 100 + one % 900,
                    }
                    for one in range(start, min(start + _BATCH, products // number))
                ],
            )
    mark_changed(session)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config_uri", help="such as development.ini")
    parser.add_argument("--products", type=int, default=20_000, help="in the larger one")
    arguments = parser.parse_args()
    setup_logging(arguments.config_uri)
    with bootstrap(arguments.config_uri) as env:
        request = env["request"]
        engine = env["registry"]["dbsession_factory"].kw["bind"]
        if engine.dialect.name == "sqlite":
            # It stays with the file: readers and the one writer do not stand in each other's way.
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with request.tm:
            setup_models(request.dbsession, arguments.products)
    print("The warehouses are full.")


if __name__ == "__main__":
    main()
