"""Fill the warehouses, and let somebody in: ``initialize_pyramid_shop_db development.ini``."""

from __future__ import annotations

import argparse
import secrets

from pyramid.paster import bootstrap, setup_logging
from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from zope.sqlalchemy import mark_changed

from pyramid_shop.models import Product, User, Warehouse

_BATCH = 10_000


def add_users(session: Session, password: str) -> list[str]:
    """Add somebody of each role, unless he is there already; the names of those added."""
    added = []
    for name in ("operator", "viewer"):
        if session.scalars(select(User).where(User.name == name)).first() is None:
            user = User(name=name, role=name)
            user.set_password(password)
            session.add(user)
            added.append(name)
    return added


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
    parser.add_argument("--password", help="of the users; default one that nobody knows")
    arguments = parser.parse_args()
    password = arguments.password or secrets.token_urlsafe(9)
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
            added = add_users(request.dbsession, password)
    print("The warehouses are full.")
    if added:
        print(f"Log in as {' or '.join(added)} with the password {password}")


if __name__ == "__main__":
    main()
