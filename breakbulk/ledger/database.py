"""The way to the database: engines, sessions, transactions, and what differs between databases.

An engine never crosses a fork: a child that used its parent's socket would garble both their
conversations. Everything here is resolved when it is first needed in a process and forgotten in
a forked child.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Pool,
    QueuePool,
    create_engine,
    event,
    false,
    func,
    make_url,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from breakbulk.errors import ConfigurationError
from breakbulk.ledger import forking, pooling
from breakbulk.ledger.schema import Schema, schema
from breakbulk.ledger.sql import transaction_began
from breakbulk.ledger.turnstile import Turnstile

Target = str | URL | Engine | sessionmaker[Any] | scoped_session[Any] | Callable[[], Any]

#: How long SQLite waits for a writer that does not queue with us, in milliseconds.
_SQLITE_PATIENCE = 600_000
#: PostgreSQL would notice a vanished client only after hours. Milliseconds and seconds.
_WATCH = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "client_connection_check_interval": "2000",
}
_LIMIT = "idle_in_transaction_session_timeout"
#: Milliseconds; far longer than we do anything between two statements, shorter than a lease.
_FROZEN = 8000
_SEAL = "breakbulk_seal"
_SUPPORTED = ("postgresql", "sqlite")
_instances: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """A database given as a URL, an engine, a sessionmaker, or a callable that returns one.

    Args:
        target: where the rows are. A callable is asked once in each process, after any fork.
        schema_name: schema (PostgreSQL) or table prefix (SQLite) of the ledger's tables.

    Raises:
        ConfigurationError: the target is none of these, or a database we do not know.
    """

    def __init__(self, target: Target, *, schema_name: str = "breakbulk") -> None:
        self._target = target
        self.schema_name = schema_name
        self._engine: Engine | None = None
        self._sessions: Callable[..., Session] | None = None
        self._turnstile: Turnstile | None = None
        self._resolving = threading.RLock()
        if not callable(target) or isinstance(target, (sessionmaker, scoped_session)):
            self._dialect_name: str | None = _dialect_of(target)
        else:
            self._dialect_name = None
        _instances.add(self)

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        if self._engine is None:
            # Lanes in threads come all at once, and each would get an engine of its own.
            with self._resolving:
                if self._engine is None:
                    self._resolve()
        assert self._engine is not None
        return self._engine

    @property
    def dialect(self) -> str:
        """``postgresql`` or ``sqlite``."""
        return self._dialect_name or self.engine.dialect.name

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL."""
        return self.dialect == "postgresql"

    @property
    def schema(self) -> Schema:
        """The ledger's tables as they are called here."""
        return schema(self.schema_name, flat=not self.is_postgresql)

    @property
    def identity(self) -> tuple[str | None, ...]:
        """What makes two targets the same database: driver-independent parts of the address."""
        url = self.engine.url
        if self.dialect == "sqlite":
            return ("sqlite", os.path.realpath(url.database) if url.database else str(id(self)))
        host = url.query.get("host", url.host)
        port = url.query.get("port", url.port)
        return (self.dialect, str(host or ""), str(port or 5432), url.database or url.username)

    def session(self, connection: Connection) -> Session:
        """A session of the user's own kind on our connection."""
        self.engine  # noqa: B018  (resolves the session factory, too)
        assert self._sessions is not None
        return self._sessions(bind=connection)

    def joined_session(self, connection: Connection) -> Session:
        """One that takes part in the transaction the connection is in, and does not end it.

        Whatever the user's sessionmaker says of such sessions: a savepoint of its own would be
        rolled back when it is closed, and so would a transaction that it controls.
        """
        self.engine  # noqa: B018  (resolves the session factory, too)
        assert self._sessions is not None
        return self._sessions(bind=connection, join_transaction_mode="rollback_only")

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection from the user's pool."""
        with self._connect(self.engine) as connection:
            yield connection

    @contextmanager
    def connect_apart(self) -> Iterator[Connection]:
        """A connection for a thread of its own, which may keep it as long as its process lives.

        It takes no place in the team's pool, which may have one for each of their threads and none
        to spare: steward and outbox would keep it from a lane for good, or take it from each other
        after each loss. On SQLite no process forks beside it.
        """
        with ExitStack() as stack:
            if not self.is_postgresql:
                stack.enter_context(forking.held_off())
            engine = _Apart.of(self.engine)
            stack.callback(engine.let_go)
            connection = stack.enter_context(self._connect(engine))
            if not self.is_postgresql:
                stack.callback(connection.invalidate)
            yield connection

    @contextmanager
    def let_go(self, connection: Connection) -> Iterator[None]:
        """Wait for something with nothing open that a fork would copy.

        Args:
            connection: idle; of :meth:`connect_apart`, or any other, which stays open.
        """
        if self.is_postgresql or not forking.holds_off():
            yield
            return
        connection.invalidate()
        with forking.let():
            yield
        self._be_patient(connection)

    @contextmanager
    def reading(self, connection: Connection | None = None) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._on(connection) as conn:
            level = self._level(conn)
            with conn.begin():
                self._read_committed(conn, level)
                yield conn

    @contextmanager
    def transaction(
        self,
        connection: Connection | None = None,
        *,
        durable: bool = True,
        patient: bool = False,
    ) -> Iterator[Connection]:
        """A transaction of the ledger's own: READ COMMITTED whatever the engine says.

        On PostgreSQL the server ends whoever freezes in the middle of one. All others would wait
        for what he has locked, be it the carve row, a lane's place or who leads, and no steward
        could tell whom to end.

        Args:
            connection: an idle one to use; else one from the pool.
            durable: False lets COMMIT return before the log is on disk. Right only for what a
                later durable commit implies: the log is sequential.
            patient: the team's own code runs in it, and may take its time.
        """
        with self._on(connection) as conn, ExitStack() as stack:
            with self.let_go(conn):
                stack.enter_context(self.turn())
            level = self._level(conn)
            with conn.begin():
                self._read_committed(conn, level)
                self.begin_writing(conn)
                naming = pooling.naming(conn)
                if self.is_postgresql and not patient:
                    lazily = "" if durable else ", set_config('synchronous_commit', 'off', true)"
                    # One statement: some teams have psycopg prepare each at its first use.
                    limit = f"set_config('{_LIMIT}', '{_FROZEN}', true)"
                    conn.exec_driver_sql(f"SELECT {limit}{lazily}{naming}")
                elif naming:
                    conn.exec_driver_sql(f"SELECT 1{naming}")
                yield conn

    def turn(self) -> AbstractContextManager[None]:
        """Our turn to write: a queue on SQLite, nothing elsewhere."""
        if self.is_postgresql:
            return nullcontext()
        if self._turnstile is None:
            self._turnstile = Turnstile(self.engine.url.database)
        return self._turnstile.turn()

    def writer(self, *, frozen: bool = False) -> int | None:
        """The process that holds SQLite's only writer, if there is one.

        Args:
            frozen: only if it is stopped.
        """
        if self.is_postgresql:
            return None
        self.turn()
        assert self._turnstile is not None
        return self._turnstile.frozen_holder() if frozen else self._turnstile.holder()

    def begin_writing(self, connection: Connection) -> None:
        """Take SQLite's write lock at once: a reader that upgrades later is refused."""
        if self.is_postgresql:
            return
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # Drivers with autocommit=False have begun already, without the lock.
            connection.exec_driver_sql(f"DELETE FROM {self.schema.carves.name} WHERE 0")  # noqa: S608

    def seal(self, connection: Connection) -> object:
        """Mark the open transaction, so that :meth:`unbroken` knows it again at its end.

        A driver that was told to commit begins anew with the next statement, and looks as if
        nothing had happened. On PostgreSQL it is known by the time it began, on SQLite by a
        savepoint.
        """
        if self.is_postgresql:
            return connection.execute(select(transaction_began())).scalar_one()
        connection.exec_driver_sql(f"SAVEPOINT {_SEAL}")
        return None

    def unbroken(self, connection: Connection, seal: object) -> bool:
        """Whether the open transaction is still the one of the seal. Ask once."""
        if self.is_postgresql:
            return self.seal(connection) == seal
        try:
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SEAL}")
        except OperationalError:
            return False
        return True

    @contextmanager
    def watched(self, connection: Connection, label: str) -> Iterator[None]:
        """Have the server notice soon that this client is gone, and the steward find its session.

        Args:
            label: what ``pg_stat_activity`` shows as the session's application meanwhile.

        https://www.postgresql.org/docs/current/runtime-config-connection.html
        """
        if not self.is_postgresql:
            yield
            return
        if pooling.facts(connection).pooled:
            pooling.put_label(connection, label)
            try:
                yield
            finally:
                pooling.take_label(connection)
            return
        wanted = {**_WATCH, "application_name": label}
        # All of them are read before any is set.
        ours = (func.current_setting(name).label(name) for name in wanted)
        before = select(*ours).cte("before").prefix_with("MATERIALIZED")
        found = connection.execute(select(before, *_set(wanted))).one()
        connection.commit()
        try:
            yield
        finally:
            # The connection goes back to the application's pool as it was, or not at all. Not by
            # RESET: the team may have set some of them itself. And in one statement, because some
            # teams have psycopg prepare each, and only one can be prepared at a time.
            try:
                connection.rollback()
                connection.execute(select(*_set(dict(zip(wanted, found, strict=False)))))
                connection.commit()
            except SQLAlchemyError:
                connection.invalidate()

    def lock_key(self, run_id: int, name: str) -> int:
        """The advisory lock of one chunk or callback: 64 bits, so that it never meets another's."""
        digest = hashlib.blake2b(
            f"breakbulk:{self.schema_name}:{run_id}:{name}".encode(), digest_size=8
        )
        return int.from_bytes(digest.digest(), "big", signed=True)

    def forget(self) -> None:
        """Let go of everything that must not cross a fork, without closing the parent's sockets."""
        # Theirs, too, where nobody has needed us yet: they may have asked something at their start.
        engine = self._engine or _engine_in(self._target)
        if engine is not None:
            engine.dispose(close=False)
        self._engine = self._sessions = self._turnstile = None
        self._resolving = threading.RLock()  # another thread may have held it when we were forked

    def dispose(self) -> None:
        """Close all pooled connections."""
        if self._engine is not None:
            self._engine.dispose()

    def put_away(self) -> None:
        """Close what a fork would copy and must not; nobody uses it now."""
        # Asking for one that nobody has needed yet would run the application's code in a fork.
        engine = self._engine or _engine_in(self._target)
        if engine is None or engine.dialect.name != "sqlite":
            return
        # Any other pool may have only one connection, with a whole database in it.
        if isinstance(engine.pool, QueuePool):
            engine.dispose()

    @contextmanager
    def _on(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
        else:
            with self.connect() as fresh:
                yield fresh

    @contextmanager
    def _connect(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            if autocommits(connection):
                raise ConfigurationError(
                    "The engine is in AUTOCOMMIT, so a chunk would not be one transaction:"
                    " create it without isolation_level='AUTOCOMMIT'."
                )
            if self.is_postgresql:
                # Before anything is prepared.
                pooling.facts(connection)
            else:
                self._be_patient(connection)
            yield connection

    def _be_patient(self, connection: Connection) -> None:
        """Let SQLite wait for a writer that does not queue with us."""
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_SQLITE_PATIENCE}")
        connection.rollback()

    def _level(self, connection: Connection) -> str:
        return pooling.facts(connection).isolation_level if self.is_postgresql else ""

    def _read_committed(self, connection: Connection, level: str) -> None:
        if self.is_postgresql and level != "READ COMMITTED":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def _resolve(self) -> None:
        target: Any = self._target
        if callable(target) and not isinstance(target, (sessionmaker, scoped_session)):
            target = target()
        if isinstance(target, scoped_session):
            target = target.session_factory
        if isinstance(target, sessionmaker):
            engine = _engine_in(target)
            if engine is None:
                raise ConfigurationError(
                    "The sessionmaker has no engine: create it with sessionmaker(bind=engine)."
                )
            self._sessions = target
        else:
            engine = target if isinstance(target, Engine) else _engine_for(target)
            self._sessions = sessionmaker(engine)
        self._dialect_name = _known(engine.dialect.name)
        # Last: whoever sees it does not look for the others.
        self._engine = engine


def _set(settings: Mapping[str, str]) -> list[ColumnElement[str]]:
    """Set each for the rest of the session."""
    return [func.set_config(name, value, false()) for name, value in settings.items()]


class _Apart(OptionEngine):
    """The team's engine with its options and all that listens to it, over a pool of our own."""

    #: In the place of the property of its base class, which is the pool of the team's engine.
    pool: Pool = None  # type: ignore[assignment]

    @classmethod
    def of(cls, engine: Engine) -> _Apart:
        """One for an engine; its pool makes connections in the very same way."""
        apart = cls(engine, {})
        # Any other pool has no bounds, or only one connection with a whole database in it.
        apart.pool = engine.pool.recreate() if isinstance(engine.pool, QueuePool) else engine.pool
        return apart

    def let_go(self) -> None:
        """Close what it has opened; what the team's engine has stays as it is."""
        if self.pool is not self._proxied.pool:
            self.pool.dispose()


def _engine_in(target: Any) -> Engine | None:
    if isinstance(target, scoped_session):
        target = target.session_factory
    engine = target.kw.get("bind") if isinstance(target, sessionmaker) else target
    return engine if isinstance(engine, Engine) else None


def autocommits(connection: Connection) -> bool:
    """Whether each statement commits by itself."""
    # The database does not know: it is the driver, or SQLAlchemy, that sends no BEGIN.
    options = {**connection.engine.get_execution_options(), **connection.get_execution_options()}
    if options.get("isolation_level") == "AUTOCOMMIT":
        return True
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        # isolation_level=None alone is the way to have SQLAlchemy emit BEGIN itself.
        return getattr(connection.dialect, "_on_connect_isolation_level", None) == "AUTOCOMMIT"
    return bool(getattr(driver, "autocommit", False))


def _engine_for(url: str | URL) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _wal(connection: Any, _record: Any) -> None:
            # Readers and the one writer do not stand in each other's way.
            # It lasts, so whoever comes while another one is at it need not wait for it.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def _dialect_of(target: Any) -> str | None:
    if isinstance(target, Engine):
        return _known(target.dialect.name)
    if isinstance(target, (sessionmaker, scoped_session)):
        return None
    try:
        return _known(make_url(target).get_backend_name())
    except (ArgumentError, TypeError) as error:
        raise ConfigurationError(
            f"database={target!r} is not a URL, an Engine, a sessionmaker or a callable;"
            " write for example 'postgresql+psycopg:///shop'."
        ) from error


def _known(dialect: str) -> str:
    if dialect not in _SUPPORTED:
        raise ConfigurationError(
            f"Breakbulk has no ledger for {dialect}: use PostgreSQL, or SQLite on one machine."
        )
    return dialect


def schema_names() -> set[str]:
    """What the ledgers of this process are called."""
    return {database.schema_name for database in list(_instances)}


def _put_all_away() -> None:
    for database in list(_instances):
        database.put_away()


def _forget_all() -> None:
    for database in list(_instances):
        database.forget()


forking.before_each(_put_all_away)
os.register_at_fork(after_in_child=_forget_all)
