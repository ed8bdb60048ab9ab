"""The servers that the tests run on, and what happens when one is missing.

PostgreSQL and Valkey come from the extra ``embedded``. Others are used as well when an
environment variable names them::

    BREAKBULK_TEST_POSTGRES   URL of a server on which the tests may create databases
    BREAKBULK_TEST_REDIS      URL of a Redis or Valkey database, which the tests empty
    BREAKBULK_TEST_AMQP       URL of a RabbitMQ virtual host

Whoever runs many short sessions starts one PostgreSQL for all of them and names it in
``BREAKBULK_RUNNING_POSTGRES``.

A test whose server is missing is skipped, with the reason; it fails when ``BREAKBULK_REQUIRE``
(names from `NAMES`, separated by blanks) demands that server. ``netns``, ``tmpfs``
and ``chroot`` are no servers: as root some tests cut a network of their own, fill a disk, or start
a worker in a root of its own. ``promtool`` and ``systemd`` check what `deploy/` holds.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest
from kombu import Connection
from kombu.exceptions import KombuError
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey, scratch_directory
from breakbulk.errors import EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

Embedded = TypeVar("Embedded", EmbeddedPostgres, EmbeddedValkey)

NAMES = (
    *("embedded", "postgres", "redis", "amqp", "browser", "pgbouncer", "netns", "tmpfs"),
    *("promtool", "systemd", "chroot"),
)
RUNNING_POSTGRES = "BREAKBULK_RUNNING_POSTGRES"
_ANSWER_SECONDS = 10
TEST_SETTINGS = {
    # No test pulls the plug of the machine; killed servers recover without fsync, too.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


def variable(name: str) -> str:
    """Return the environment variable that names the external server ``name``."""
    return f"BREAKBULK_TEST_{name.upper()}"


def required() -> frozenset[str]:
    """Return the servers that may not be missing.

    Raises:
        pytest.UsageError: one of them is unknown, so its absence would never be noticed.
    """
    names = frozenset(os.environ.get("BREAKBULK_REQUIRE", "").split())
    unknown = sorted(names - set(NAMES))
    if unknown:
        message = f"BREAKBULK_REQUIRE names {' '.join(unknown)}; known are {' '.join(NAMES)}."
        raise pytest.UsageError(message)
    return names


def expected(name: str) -> bool:
    """Whether tests are laid out for the external server ``name``."""
    return bool(os.environ.get(variable(name))) or name in required()


def missing(name: str, reason: str) -> NoReturn:
    """Skip the test that needs the server ``name``, or fail it where that is demanded."""
    if name in required():
        pytest.fail(f"BREAKBULK_REQUIRE demands {name}, but {reason}", pytrace=False)
    pytest.skip(f"no {name}: {reason}")


class Servers:
    """Every server of one test session; each is started or looked for when first needed.

    Tests that stop, restart or reconfigure a server start one of their own instead.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._absent: dict[str, str] = {}
        self._running: dict[str, EmbeddedPostgres | EmbeddedValkey] = {}
        self._looked_at: dict[str, str] = {}

    def close(self) -> None:
        """Stop what was started."""
        self._stack.close()

    @property
    def postgres(self) -> str:
        """URL of the embedded PostgreSQL."""
        running = os.environ.get(RUNNING_POSTGRES)
        return running or self._start("postgres", EmbeddedPostgres, TEST_SETTINGS)

    @property
    def valkey(self) -> str:
        """URL of the embedded Valkey."""
        return self._start("valkey", EmbeddedValkey, {})

    def external(self, name: str) -> str:
        """URL of the server ``name`` that the environment names, found to answer."""
        url = os.environ.get(variable(name))
        if not url:
            missing(name, f"{variable(name)} is not set.")
        if name not in self._looked_at:
            self._looked_at[name] = _complaint(name, url)
        if self._looked_at[name]:
            missing(name, self._looked_at[name])
        return url

    @cached_property
    def _home(self) -> Path:
        return self._stack.enter_context(scratch_directory("breakbulk-tests-"))

    def _start(self, name: str, kind: type[Embedded], settings: dict[str, str]) -> str:
        if name in self._absent:
            missing("embedded", self._absent[name])
        server = self._running.get(name)
        if server is None:
            server = kind(self._home / name, settings=settings)
            try:
                self._stack.enter_context(server)
            except EmbeddedError as error:
                self._absent[name] = str(error)
                missing("embedded", str(error))
            self._running[name] = server
        return server.url


def _complaint(name: str, url: str) -> str:
    """Return why the external server does not answer; empty when it does."""
    try:
        if name == "postgres":
            engine = create_engine(psycopg_url(url), connect_args={"connect_timeout": 10})
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
            engine.dispose()
        else:
            with Connection(url, connect_timeout=_ANSWER_SECONDS) as broker:
                broker.ensure_connection(max_retries=1, timeout=_ANSWER_SECONDS)
    except (SQLAlchemyError, KombuError, OSError) as error:
        return f"{variable(name)} does not answer: {error}"
    return ""


def psycopg_url(url: str) -> str:
    """Return ``url`` with psycopg 3 as its driver, password kept."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)
