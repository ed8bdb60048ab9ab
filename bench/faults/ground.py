"""The database of one trial, and the judgement: plain SQL over a connection of its own.

Nothing here knows any of the systems, and none of them is asked what it believes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import psycopg
from sqlalchemy import make_url

from bench.faults.work import ROWS
from breakbulk.embedded import EmbeddedPostgres

_TABLES = f"""
CREATE TABLE products (id bigint PRIMARY KEY, version integer NOT NULL);
CREATE TABLE notices (at timestamptz NOT NULL DEFAULT clock_timestamp(), missing bigint NOT NULL);
CREATE TABLE alarms (at timestamptz NOT NULL DEFAULT clock_timestamp());
INSERT INTO products SELECT number, 0 FROM generate_series(1, {ROWS}) AS number;
"""
_JUDGE = """
SELECT (SELECT count(*) FROM products WHERE version = 0),
       (SELECT count(*) FROM products WHERE version > 1),
       (SELECT count(*) FROM notices),
       (SELECT extract(epoch FROM min(at)) FROM notices),
       (SELECT missing FROM notices ORDER BY at LIMIT 1),
       (SELECT count(*) FROM alarms)
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is in the tables.

    Attributes:
        missed: rows that nobody has processed.
        twice: rows that were processed more than once.
        callbacks: how often the callback was committed.
        called_back: when it was first, in seconds since the epoch.
        early: rows that were missing at that moment.
        alarms: how often the system has called back to say that the job failed.
    """

    missed: int
    twice: int
    callbacks: int
    called_back: float | None
    early: int | None
    alarms: int


class Ground:
    """A database with rows to be processed.

    Args:
        server: where to make it.
    """

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        url = make_url(server.url).set(database=name)
        # Plain messages, so that a proxy can read along.
        plain = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        self.url = plain.render_as_string(hide_password=False)
        self._connection: psycopg.Connection | None = None

    @classmethod
    @contextmanager
    def made(cls, server: EmbeddedPostgres) -> Iterator[Self]:
        """Yield a new one that is dropped at the end."""
        name = f"bb_faults_{secrets.token_hex(4)}"
        with _connect(server.url) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        ground = cls(server, name)
        try:
            with _connect(ground.url) as connection:
                connection.execute(_TABLES)
                connection.execute("VACUUM ANALYZE products")
            yield ground
        finally:
            ground._forget()
            with _connect(server.url) as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def judge(self) -> Verdict | None:
        """Say how things stand; None while the database does not answer."""
        try:
            if self._connection is None:
                self._connection = _connect(self.url)
            row = self._connection.execute(_JUDGE).fetchone()
        except psycopg.OperationalError:
            self._forget()
            return None
        assert row is not None
        missed, twice, callbacks, called_back, early, alarms = row
        at = None if called_back is None else float(called_back)
        return Verdict(missed, twice, callbacks, at, early, alarms)

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def _connect(url: str) -> psycopg.Connection:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)
