"""One unit of work: user code inside a transaction that is ours to end.

The transaction belongs to the chunk (or the callback). If user code ended it, the done-mark
that follows would commit half a chunk, so every way to end it is refused or noticed: through the
session, through the connection, as SQL text, through the driver, and behind everybody's back, as
SQLite does when its disk is full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from breakbulk.errors import TransactionMisuse
from breakbulk.ledger import Database
from breakbulk.ledger.driver import is_psycopg

_KEY = "breakbulk_unit"
_REFUSED = (
    "The session of a chunk, part or callback must not commit or roll back: Breakbulk commits its"
    " changes together with its own mark when the code returns; use session.begin_nested() for"
    " what may fail."
)
_ENDED = (
    "The transaction was ended before the code that works in it returned: never end it through"
    " the database driver; use session.begin_nested() for what may fail."
)
_SWALLOWED = (
    "An error of the database was swallowed (or the session rolled back), so nobody knows what"
    " became of the changes: use session.begin_nested() for what may fail."
)
_UNSAID = (
    "The session's commit() did not commit, so nothing is done: its class must not override"
    " commit() in that way."
)
_ELSEWHERE = (
    "The session goes to {url} too, whose changes would not commit together with Breakbulk's own"
    " mark: give Breakbulk a sessionmaker with one engine, and open other databases yourself."
)
# Everything that ends a transaction; ROLLBACK TO a savepoint does not.
_ENDS = re.compile(
    r"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
    r"(?:COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)


class Unit:
    """An open transaction on a connection, with a session of the user's kind in it."""

    def __init__(self, session: Session, connection: Connection) -> None:
        self.session = session
        self.connection = connection
        self.committing = False
        self._last_word: Callable[[], None] | None = None
        #: The user was told that something cannot be; it counts even if he did not listen.
        self.complaint: TransactionMisuse | None = None
        self._transaction = connection.get_transaction()

    def check(self) -> None:
        """Make sure that this is still the transaction that was begun.

        What this cannot see, the transaction's seal can: :meth:`Database.unbroken`.

        Raises:
            TransactionMisuse: user code, or an error it swallowed, has ended it.
        """
        if self.complaint is not None:
            raise self.complaint
        transaction = self.connection.get_transaction()
        if transaction is None or transaction is not self._transaction:
            raise TransactionMisuse(_SWALLOWED)
        idle, healthy = _status(self.connection)
        if idle:
            raise ended()
        if not (transaction.is_active and healthy):
            raise TransactionMisuse(_SWALLOWED)

    def complain(self, misuse: TransactionMisuse) -> TransactionMisuse:
        """Remember a misuse, to be raised again at the end if it is swallowed."""
        if self.complaint is None or not self.complaint.deliberate:
            self.complaint = misuse
        return misuse

    def commit(self, last_word: Callable[[], None] | None = None) -> None:
        """End it for good.

        Args:
            last_word: says COMMIT itself, after all that the session does before. Not for a session
                that commits in two phases.
        """
        self.committing, self._last_word = True, last_word
        self.session.commit()
        if self._last_word is not None:
            raise TransactionMisuse(_UNSAID)

    def say_last_word(self) -> None:
        """It is time for COMMIT. SQLAlchemy's own then finds no transaction and does nothing."""
        last_word, self._last_word = self._last_word, None
        if last_word is not None:
            last_word()


def troubled(session: Session) -> bool:
    """Whether the transaction of a unit's session can only be rolled back."""
    opened: Unit | None = session.info.get(_KEY)
    return opened is not None and (opened.complaint is not None or opened.connection.invalidated)


# Units by the connection they are open on, and the connections that are listened to.
_units: WeakKeyDictionary[Connection, Unit] = WeakKeyDictionary()
_watched: WeakSet[Connection] = WeakSet()


@contextmanager
def unit(database: Database, connection: Connection) -> Iterator[Unit]:
    """A transaction for user code; rolled back unless :meth:`Unit.commit` is called.

    Raises:
        TransactionMisuse: the user's session does not use our connection.
    """
    session = database.session(connection)
    try:
        if not session.in_transaction():
            session.begin()  # also where the user has switched autobegin off
        opened = Unit(session, _ours(session, connection))
        _watch(connection)
        _units[connection] = session.info[_KEY] = opened
        yield opened
    except Exception:
        # Raised again; should the session not close, that is raised in its place, with this behind.
        _close(session, connection)
        raise
    except BaseException:
        # That the process is to end matters more than a connection that is found to be lost.
        with suppress(Exception):
            _close(session, connection)
        raise
    else:
        _close(session, connection)


def _ours(session: Session, connection: Connection) -> Connection:
    if session.connection() is not connection:
        raise _elsewhere(session.connection())
    return connection


def _close(session: Session, connection: Connection) -> None:
    session.info.pop(_KEY, None)
    _units.pop(connection, None)
    try:
        session.close()
    finally:
        _clear(connection)


def ended() -> TransactionMisuse:
    """What is wrong with a transaction that is not the one we began.

    Deliberate: part of it may have been committed, so trying again would do it again.
    """
    return TransactionMisuse(_ENDED, deliberate=True)


def _clear(connection: Connection) -> None:
    """Leave no transaction behind, whatever SQLAlchemy believes about it."""
    if connection.closed or connection.invalidated:
        return
    if connection.get_transaction() is not None:  # an inactive one counts
        connection.rollback()
    if not _status(connection)[0]:
        # A COMMIT that was refused, by us or by a deferred constraint, may leave it open.
        connection.connection.rollback()


def _watch(connection: Connection) -> None:
    if connection not in _watched:
        event.listen(connection, "commit", _before_commit_of_connection)
        event.listen(connection, "before_cursor_execute", _refuse_statement)
        _watched.add(connection)


def _refuse(opened: Unit) -> TransactionMisuse:
    return opened.complain(TransactionMisuse(_REFUSED, deliberate=True))


def _before_commit_of_connection(connection: Connection) -> None:
    opened = _units.get(connection)
    if opened is None:
        return
    if not opened.committing:
        raise _refuse(opened)
    opened.say_last_word()


def _refuse_statement(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
    opened = _units.get(connection)
    if opened is not None and not opened.committing and _ENDS.match(statement):
        raise _refuse(opened)


@event.listens_for(Engine, "handle_error")
def _notice_error(context: ExceptionContext) -> None:
    connection = context.connection
    opened = None if connection is None else _units.get(connection)
    if opened is None or connection is None or connection.in_nested_transaction():
        return
    if isinstance(context.sqlalchemy_exception, DBAPIError) and opened.complaint is None:
        opened.complaint = TransactionMisuse(_SWALLOWED)


@event.listens_for(Session, "before_commit")
def _refuse_commit(session: Session) -> None:
    opened: Unit | None = session.info.get(_KEY)
    if opened is None or opened.committing or session.in_nested_transaction():
        return
    raise _refuse(opened)


@event.listens_for(Session, "after_soft_rollback")
def _notice_rollback(session: Session, previous: SessionTransaction) -> None:
    opened: Unit | None = session.info.get(_KEY)
    # Neither a savepoint nor the part of one that a flush opens for itself.
    root = previous.parent is None
    if opened is not None and root and opened.complaint is None:
        opened.complaint = TransactionMisuse(_SWALLOWED)


@event.listens_for(Session, "after_begin")
def _refuse_other_database(
    session: Session, _transaction: SessionTransaction, connection: Connection
) -> None:
    opened: Unit | None = session.info.get(_KEY)
    if opened is not None and connection is not opened.connection:
        raise opened.complain(_elsewhere(connection))


def _elsewhere(connection: Connection) -> TransactionMisuse:
    return TransactionMisuse(_ELSEWHERE.format(url=connection.engine.url), deliberate=True)


def _status(connection: Connection) -> tuple[bool, bool]:
    """Whether the driver is in no transaction, and whether it is in a healthy one."""
    driver: Any = connection.connection.driver_connection
    if hasattr(driver, "in_transaction"):
        return not driver.in_transaction, bool(driver.in_transaction)
    # Asked twice for each chunk, and psycopg makes an object to ask where libpq has a number.
    info = driver.pgconn if is_psycopg(driver) else getattr(driver, "info", None)
    status = getattr(info, "transaction_status", None)
    if status is None:
        return False, True
    # libpq: 0 is IDLE, 2 INTRANS, 3 INERROR: an error was swallowed.
    return int(status) == 0, int(status) == 2  # noqa: PLR2004
