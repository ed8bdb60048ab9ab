"""The application's sessions, and what zope.sqlalchemy does with them.

A session that is registered with it is committed by the transaction manager alone, and only if it
is marked as changed: Core statements, such as ours, do not mark it, and would be rolled back
without a sound.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session, scoped_session, sessionmaker

from breakbulk.errors import ConfigurationError


def mark_changed(session: Session | scoped_session[Any]) -> None:
    """Have the transaction manager commit the session, if it is one of those it commits."""
    own: Session = session() if isinstance(session, scoped_session) else session
    events = _registration(own)
    if events is not None:
        # By the registration itself, which knows the request's own transaction manager.
        events.mark_changed(own)


def refuse_registered(target: Any) -> Any:
    """The target, unless what it makes would be committed by a transaction manager.

    Raises:
        ConfigurationError: a chunk's transaction is Breakbulk's to commit.
    """
    factory = target.session_factory if isinstance(target, scoped_session) else target
    if isinstance(factory, sessionmaker):
        with factory() as session:
            if _registration(session) is not None:
                raise ConfigurationError(
                    "The sessionmaker is registered with zope.sqlalchemy, so only a transaction"
                    " manager could commit a chunk: register each request's session instead, as"
                    " the Pyramid cookiecutter does, or name another one by breakbulk.database."
                )
    return target


def _registration(session: Session) -> Any:
    """What zope.sqlalchemy has registered for a session, if it has."""
    try:
        from zope.sqlalchemy.datamanager import ZopeTransactionEvents
    except ImportError:
        return None
    for listener in session.dispatch.after_begin:
        owner = getattr(listener, "__self__", None)
        if isinstance(owner, ZopeTransactionEvents):
            return owner
    return None
