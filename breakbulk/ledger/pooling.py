"""Whether a pooler stands between us and PostgreSQL, and what is done differently then.

PgBouncer in transaction mode, and its like, give each transaction whichever session is free. What
is set for a session is then set for strangers, and a statement that was prepared is not there the
next time: psycopg prepares by itself whatever it is asked for the sixth time.

A pooler cannot be asked, but it gives itself away: the process that a client is told of when it
connects, so that it may cancel its queries there, is not the one that answers.
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from breakbulk.ledger.driver import is_psycopg

_FACTS = "breakbulk_facts"
_LABEL = "breakbulk_label"
_ASK = text("SELECT current_setting('transaction_isolation'), pg_backend_pid()")


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for a connection to PostgreSQL as long as it lives.

    Attributes:
        isolation_level: of its transactions unless they say otherwise, in capitals.
        pooled: each of its transactions may have another session.
    """

    isolation_level: str
    pooled: bool


def facts(connection: Connection) -> Facts:
    """Ask what holds for a connection, once for each that is opened; it must be idle."""
    found: Facts | None = connection.info.get(_FACTS)
    if found is None:
        level, pid = connection.execute(_ASK).one()
        connection.rollback()
        driver: Any = connection.connection.driver_connection
        told = getattr(getattr(driver, "info", None), "backend_pid", None)
        found = Facts(str(level).upper(), pooled=told is not None and told != pid)
        if found.pooled and is_psycopg(driver):
            driver.prepare_threshold = None
        connection.info[_FACTS] = found
    return found


def put_label(connection: Connection, label: str) -> None:
    """Have each transaction say for itself whose it is, because no session is ours to be named."""
    connection.info[_LABEL] = label


def take_label(connection: Connection) -> None:
    """The connection goes back to where it came from."""
    connection.info.pop(_LABEL, None)


def label_of(connection: Connection) -> str | None:
    """What :func:`put_label` has put."""
    label: str | None = connection.info.get(_LABEL)
    return label


def naming(connection: Connection) -> str:
    """What to add to the list of a SELECT that begins a transaction, quoted; empty without label.

    The label is one of ours, of letters, digits and dashes.
    """
    label = label_of(connection)
    return "" if label is None else f", set_config('application_name', '{label}', true)"
