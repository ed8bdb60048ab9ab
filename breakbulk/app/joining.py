"""A caller's own session, of whose transaction a run can be part."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session, scoped_session

from breakbulk.errors import ConfigurationError, SecondDatabase
from breakbulk.ledger import Database
from breakbulk.ledger.database import autocommits


def joinable(ledger: Database, session: Session | scoped_session[Any]) -> Session:
    """The session that is meant, if the ledger can be written through it.

    Raises:
        ConfigurationError: each of its statements commits by itself.
        SecondDatabase: it is on another database than the ledger.
    """
    # Listeners of a scoped_session would be those of every session that its factory makes.
    own: Session = session() if isinstance(session, scoped_session) else session
    connection = own.connection()
    if autocommits(connection):
        raise ConfigurationError(
            "The session given to submit() is in AUTOCOMMIT, so the run would not be part of"
            " its transaction: leave session= out, or use a session without it."
        )
    if Database(connection.engine).identity != ledger.identity:
        raise SecondDatabase(
            "The session given to submit() is on another database than the ledger:"
            " leave session= out, or use a session of the ledger's database."
        )
    return own
