"""What is said to psycopg itself, for every chunk: its BEGIN, its done-mark, and a result.

SQLAlchemy takes 0.1 ms of CPU for a statement that takes the driver 0.03 (measured). For a
team's own statements that buys much; for fixed ones that come with every chunk it buys nothing.

How the mark travels with COMMIT is told in :mod:`breakbulk.ledger.lastword`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CURSOR = "breakbulk_cursor"
# Of libpq (PGTransactionStatusType, ExecStatusType): numbers, because psycopg's names for them are
# made into objects at each comparison.
_IDLE = 0
_TUPLES_OK = 2


def is_psycopg(driver: Any) -> bool:
    """Whether that is a connection of psycopg's; with other drivers SQLAlchemy speaks for us."""
    return hasattr(driver, "pgconn")


def ask(connection: Connection, query: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Ask a query that gives one row at most, in the transaction that is open.

    psycopg prepares it by itself once it has been asked a few times. The cursor stays with the
    connection, because to make one takes as long as to ask.

    Args:
        connection: one of psycopg's.

    Raises:
        psycopg.Error: what the server said.
    """
    row: tuple[Any, ...] | None = _said(connection, query, values).fetchone()
    return row


def tell(connection: Connection, query: str, values: Mapping[str, Any]) -> None:
    """Say a statement that gives no rows, as :func:`ask` asks.

    Raises:
        psycopg.Error: what the server said.
    """
    _said(connection, query, values)


def ask_apart(
    connection: Connection, query: str, values: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """Ask a query that is a transaction of its own, in one round trip, as :func:`ask` asks.

    Args:
        connection: one of psycopg's, in no transaction: see :func:`is_idle`.

    Raises:
        psycopg.Error: what the server said; nothing was written, or nobody knows.
    """
    driver: Any = connection.connection.driver_connection
    before = driver.autocommit
    # A property of psycopg's object, of which the server does not hear.
    driver.autocommit = True
    try:
        return ask(connection, query, values)
    finally:
        if not driver.closed:
            driver.autocommit = before


def is_idle(connection: Connection) -> bool:
    """Whether a connection is one of psycopg's and in no transaction, nobody else's either."""
    driver: Any = connection.connection.driver_connection
    return is_psycopg(driver) and int(driver.pgconn.transaction_status) == _IDLE


def begin_with(driver: Any, query: str) -> tuple[bytes | None, ...]:
    """Ask a query that has one row in one message with BEGIN; its values as text.

    psycopg sends BEGIN by itself and waits for the answer, also in a pipeline (seen on the wire),
    and entering and leaving a pipeline takes 0.15 to 0.2 ms of CPU.

    Args:
        driver: psycopg's connection. If it is in a transaction already, because the team's
            own listeners have begun one, that one goes on.
        query: without parameters.

    Raises:
        psycopg.Error: what the server said.
    """
    idle = driver.pgconn.transaction_status == _IDLE
    answer = answers_to(driver, f"{_begin(driver)};{query}" if idle else query)[-1]
    if answer.status != _TUPLES_OK:
        from psycopg.errors import error_from_result

        raise error_from_result(answer)
    return tuple(answer.get_value(0, column) for column in range(answer.nfields))


def answers_to(driver: Any, message: str) -> list[Any]:
    """Send statements in one message; the server's answers, the last of which may be an error.

    What comes after an error in it is not done.

    Args:
        driver: psycopg's connection.

    Raises:
        psycopg.Error: there is no answer: the connection is lost.
    """
    execute = _generators().execute
    with driver.lock:
        driver.pgconn.send_query(message.encode())
        answers: list[Any] = driver.wait(execute(driver.pgconn))
    return answers


@cache
def _generators() -> Any:
    # Where psycopg is not the driver it need not be there.
    from psycopg import generators

    return generators


def prepared_in(driver: Any) -> MutableMapping[Any, bytes] | None:
    """Psycopg's own list of what it has prepared in a session, by text and types.

    It empties the list and the session together. It is not for others to see, so None, as where
    nothing is to be prepared, when it is not where it was.
    """
    if getattr(driver, "prepare_threshold", None) is None:
        return None
    names = getattr(getattr(driver, "_prepared", None), "_names", None)
    return names if isinstance(names, MutableMapping) else None


def _said(connection: Connection, query: str, values: Mapping[str, Any]) -> Any:
    cursor = connection.info.get(_CURSOR)
    if cursor is None:
        driver: Any = connection.connection.driver_connection
        cursor = connection.info[_CURSOR] = driver.cursor()
    return cursor.execute(query, values)


def _begin(driver: Any) -> str:
    # What psycopg would send: SQLAlchemy tells it the user's isolation level.
    words = ["BEGIN"]
    if driver.isolation_level is not None:
        words.append(f"ISOLATION LEVEL {driver.isolation_level.name.replace('_', ' ')}")
    if driver.read_only is not None:
        words.append("READ ONLY" if driver.read_only else "READ WRITE")
    if driver.deferrable is not None:
        words.append("DEFERRABLE" if driver.deferrable else "NOT DEFERRABLE")
    return " ".join(words)
