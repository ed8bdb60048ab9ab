"""Fresh, empty databases: one for each test, gone afterwards."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine, make_url, text

from tests.support.servers import psycopg_url

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def fresh_postgres(server: str) -> Iterator[str]:
    """Yield the URL of a new, empty database on the PostgreSQL ``server`` (a URL, too).

    Whoever is still connected to it at the end is thrown out.
    """
    name = f"breakbulk_test_{secrets.token_hex(6)}"
    admin = create_engine(psycopg_url(server), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    try:
        url = make_url(psycopg_url(server)).set(database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
