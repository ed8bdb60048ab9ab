"""The servers that the measurements run on, and a fresh database for each measurement."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import NullPool, create_engine, make_url, text

from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey, scratch_directory

#: For many lanes; the default is 100.
_SETTINGS = {"max_connections": "400"}


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are.

    Attributes:
        postgres: URL of a database on the server, with the right to create others.
        broker: URL of a Redis or Valkey database.
    """

    postgres: str
    broker: str

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Yield the URL of a new database, and drop it at the end.

        Args:
            template: what it is a copy of; nobody may be connected to it.
        """
        name = f"bb_bench_{secrets.token_hex(4)}"
        admin = create_engine(self.postgres, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        try:
            url = make_url(self.postgres).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            with admin.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))

    def empty_broker(self) -> None:
        """Forget all messages: they belong to runs whose database is gone."""
        with Redis.from_url(self.broker) as client:
            client.flushdb()

    def version(self) -> str:
        """Return PostgreSQL's version."""
        with create_engine(self.postgres, poolclass=NullPool).connect() as connection:
            return str(connection.execute(text("SHOW server_version")).scalar_one())


@contextmanager
def servers() -> Iterator[Servers]:
    """Yield the servers that the environment names, or embedded ones with almost all defaults."""
    postgres = os.environ.get("BREAKBULK_BENCH_POSTGRES")
    broker = os.environ.get("BREAKBULK_BENCH_REDIS")
    with ExitStack() as stack:
        if postgres is None or broker is None:
            home = stack.enter_context(scratch_directory("breakbulk-bench-"))
            if postgres is None:
                server = EmbeddedPostgres(home / "postgres", settings=_SETTINGS)
                postgres = stack.enter_context(server).url
            if broker is None:
                broker = stack.enter_context(EmbeddedValkey(home / "valkey")).url
        yield Servers(postgres, broker)
