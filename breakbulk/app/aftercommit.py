"""Doing something once a session's transaction has committed, and not at all if it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_KEY = "breakbulk_after_commit"


@dataclass(frozen=True, slots=True)
class _Pending:
    """A call that waits, and the transaction and the savepoint it was made in."""

    transaction: SessionTransaction | None
    savepoint: SessionTransaction | None
    call: Callable[[Session], None]


def after_commit(session: Session, call: Callable[[Session], None]) -> None:
    """Call once when the session's outermost transaction commits, never if it rolls back.

    A rollback of the savepoint that was open when this was called counts, too.
    """
    # Listeners stay: one that removes itself breaks the commit it is called by.
    if not event.contains(session, "after_commit", _committed):
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_soft_rollback", _rolled_back)
    waiting: list[_Pending] = session.info.setdefault(_KEY, [])
    # A session that is only closed says nothing of it, so each call knows its transaction.
    transaction = session.get_transaction()
    waiting.append(_Pending(transaction, session.get_nested_transaction(), call))


def _committed(session: Session) -> None:
    if not session.in_nested_transaction():
        for pending in session.info.pop(_KEY, ()):
            if pending.transaction is session.get_transaction():
                pending.call(session)


def _rolled_back(session: Session, previous: SessionTransaction) -> None:
    if previous.parent is None:
        session.info.pop(_KEY, None)
    elif previous.nested and _KEY in session.info:
        waiting: list[_Pending] = session.info[_KEY]
        session.info[_KEY] = [one for one in waiting if not _within(one.savepoint, previous)]


def _within(savepoint: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while savepoint is not None and savepoint is not outer:
        savepoint = savepoint.parent
    return savepoint is outer
