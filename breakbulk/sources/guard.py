"""Stop ``process`` when it changes the key its rows are walked by.

A row whose key moves ahead of the frontier is met again in a later chunk, and again: the
Halloween problem. 754 of 1,000 rows were worked 2 to 14 times that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Column, Update, event
from sqlalchemy.orm import PassiveFlag, Session, attributes

from breakbulk.errors import KeyChanged

if TYPE_CHECKING:
    from sqlalchemy.orm import ORMExecuteState

_NOTE = "breakbulk.walked"


class Walked(Protocol):
    """What the guard has to know of a source."""

    @property
    def entity(self) -> type[Any] | None:
        """The mapped class that has the key; None for a plain table."""

    @property
    def key_attributes(self) -> tuple[str, ...]:
        """The names of the key in the mapped class."""

    @property
    def key_columns(self) -> tuple[Column[Any], ...]:
        """The key's columns in the table."""


def guard_key(session: Session, source: object) -> None:
    """Refuse flushes and UPDATEs through a session that change a source's key.

    A later call for the same session replaces the source. Sources that are not tables, and
    so know no key attributes, are let be.

    Raises (later, out of the flush or ``session.execute``):
        KeyChanged: a key column was assigned another value.
    """
    if not hasattr(source, "key_attributes") or not hasattr(source, "key_columns"):
        session.info.pop(_NOTE, None)
        return
    session.info[_NOTE] = source
    _listen()


@cache
def _listen() -> None:
    # Once for all sessions: to listen to each chunk's own session takes 0.1 ms of a chunk. Not
    # when this module is imported: a process that works on no chunk need not pay for it.
    event.listen(Session, "before_flush", _before_flush)
    event.listen(Session, "do_orm_execute", _before_execute)


def _before_flush(session: Session, _context: object, _instances: object) -> None:
    source: Walked | None = session.info.get(_NOTE)
    if source is None or source.entity is None:
        return
    entity = source.entity
    key = list(zip(source.key_attributes, source.key_columns, strict=True))
    for row in session.dirty:
        if not isinstance(row, entity):
            continue
        for name, column in key:
            history = attributes.get_history(row, name, PassiveFlag.PASSIVE_NO_INITIALIZE)
            if history.has_changes() or (_moves_itself(column) and session.is_modified(row)):
                raise _changed(column)


def _before_execute(state: ORMExecuteState) -> None:
    source: Walked | None = state.session.info.get(_NOTE)
    if source is None or not state.is_update or not isinstance(state.statement, Update):
        return
    columns = source.key_columns
    table = state.statement.entity_description["table"]
    if columns[0].table not in _tables(table):
        return
    assigned = set(_assigned(state.statement))
    # Values that come as rows for an UPDATE by primary key name that key to find the row.
    given = state.parameters
    rows: Sequence[Mapping[str, Any]] = given if isinstance(given, Sequence) else [given or {}]
    by_row = {name for row in rows for name in row}
    for column, name in zip(columns, source.key_attributes, strict=True):
        named = column.name in by_row or name in by_row
        if (
            column in assigned
            or column.name in assigned
            or name in assigned
            or (named and not column.primary_key)
            or _moves_itself(column)
        ):
            raise _changed(column)


def _assigned(statement: Update) -> Iterable[object]:
    # SQLAlchemy has no public way to ask what an UPDATE sets.
    values = getattr(statement, "_values", None) or {}
    ordered = getattr(statement, "_ordered_values", None) or ()
    for target in [*values, *(target for target, _ in ordered)]:
        yield target
        yield from getattr(target, "base_columns", ())


def _tables(selectable: Any) -> set[object]:
    # An UPDATE of a class that is mapped to a join names the join.
    return {selectable, *(base.table for column in selectable.c for base in column.base_columns)}


def _moves_itself(column: Column[Any]) -> bool:
    """Whether any UPDATE of its row changes a column, such as ``updated_at``."""
    return column.onupdate is not None or column.server_onupdate is not None


def _changed(column: Column[Any]) -> KeyChanged:
    return KeyChanged(
        f"process() changes {column.table}.{column.name}, by which the rows are walked, so "
        "rows would be worked twice or never; leave it alone, or walk them by another key=."
    )
