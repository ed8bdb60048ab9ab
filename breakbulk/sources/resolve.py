"""Which columns is a statement walked by?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Alias, Column, Table, inspect
from sqlalchemy.sql.elements import ColumnElement

from breakbulk.errors import SourceError
from breakbulk.sources.keyspace import KeySpace
from breakbulk.sources.refuse import (
    excludes_null,
    is_unique,
    joins_outer,
    refuse_clauses,
    tables_of,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper
    from sqlalchemy.orm.util import AliasedInsp

    from breakbulk.sources.keyspace import Statement

Given = object
"""A column or a mapped attribute, as users write them."""


def resolve(statement: object, key: Given | Sequence[Given] | None) -> KeySpace:
    """Find the key of a statement, as it was asked for or else the primary key.

    A key that the metadata does not prove unique gets the primary key appended, because
    bounds between rows that have the same key would lose some of them.

    Raises:
        SourceError: the statement cannot be walked, or not by this key.
    """
    refuse_clauses(statement)
    select: Statement = statement  # type: ignore[assignment]
    if key is None:
        columns = list(_primary_key(select))
    else:
        given = key if isinstance(key, Sequence) else (key,)
        columns = [_named(select, column) for column in given]
    if not columns:
        raise _no_key()
    base = [_base(column) for column in columns]
    table = base[0].table
    if any(column.table is not table for column in base) or not isinstance(table, Table):
        raise SourceError(
            "The columns of key= belong to more than one table; walk the rows by columns of one."
        )
    if not is_unique(table, base):
        for missing in table.primary_key:
            if missing not in base:
                columns.append(_beside(select, columns[0], missing))
                base.append(missing)
        if not is_unique(table, base):
            raise SourceError(
                f"The key {', '.join(c.name for c in base)} of {table.name} is not unique and the "
                "table has no primary key to tell its rows apart; give a unique key=."
            )
    froms = tables_of(select)
    return KeySpace(
        statement=select,
        columns=tuple(columns),
        base=tuple(base),
        single=len(froms) == 1 and _table_of(froms[0]) == table,
        nullable=joins_outer(select)
        or any(
            column.nullable and not excludes_null(select.whereclause, column) for column in base
        ),
    )


def entities(statement: Statement) -> Iterator[tuple[Any, Mapper[Any]]]:
    """Yield the mapped classes, or aliases of them, that a statement selects."""
    seen: list[object] = []
    for described in statement.column_descriptions:
        entity = described.get("entity")
        inspected: Mapper[Any] | AliasedInsp[Any] | None = inspect(entity, raiseerr=False)
        if inspected is not None and entity not in seen:
            seen.append(entity)
            yield entity, inspected.mapper


def _primary_key(statement: Statement) -> Iterator[ColumnElement[Any]]:
    froms = tables_of(statement)
    if len(froms) != 1:
        raise SourceError(
            "The source's select() has more than one table; say by which columns to walk it, "
            "such as key=Product.id."
        )
    for entity, mapper in entities(statement):
        # A class mapped to a join is one table as far as its user is concerned.
        if _table_of(froms[0]) == mapper.local_table or froms[0].compare(mapper.selectable):
            for column in mapper.primary_key:
                yield _expression(getattr(entity, mapper.get_property_by_column(column).key))
            return
    if _table_of(froms[0]) is None:
        raise SourceError(
            "The source's select() is not of one table; say by which columns to walk it, "
            "such as key=Product.id."
        )
    yield from froms[0].primary_key


def _named(statement: Statement, given: Given) -> ColumnElement[Any]:
    if isinstance(given, Column):
        # The mapped attribute instead of the bare column: with it goes the criterion by which a
        # subclass without a table of its own finds its rows.
        for entity, mapper in entities(statement):
            if given in mapper.columns.values() and isinstance(entity, type):
                return _expression(getattr(entity, mapper.get_property_by_column(given).key))
    return _expression(given)


def _beside(
    statement: Statement, column: ColumnElement[Any], wanted: Column[Any]
) -> ColumnElement[Any]:
    """Find another column of the table or alias that a column is of."""
    selectable = getattr(column, "table", None)
    if isinstance(selectable, Table):
        return _named(statement, wanted)
    found = None if selectable is None else selectable.corresponding_column(wanted)
    if found is None:
        raise SourceError(
            f"The key is not unique and {wanted.name}, which would make it so, is not selected; "
            "give a unique key=."
        )
    return found  # type: ignore[no-any-return]


def _expression(given: Given) -> ColumnElement[Any]:
    element = given.__clause_element__() if hasattr(given, "__clause_element__") else given
    if not isinstance(element, ColumnElement):
        raise SourceError(f"key= takes columns such as Product.id, not {given!r}.")
    return element


def _base(column: ColumnElement[Any]) -> Column[Any]:
    columns = [base for base in column.base_columns if isinstance(base, Column)]
    if len(columns) != 1 or not hasattr(column, "table") or not isinstance(columns[0].table, Table):
        raise SourceError(
            f"The key {column} is not a plain column of a table; walk the rows by one that is."
        )
    return columns[0]


def _table_of(selectable: object) -> object:
    """Find the table that a selectable is or is an alias of; it equals the table itself, no more.

    The ORM hands out copies of tables with notes on them.
    """
    if isinstance(selectable, Alias):
        return _table_of(selectable.element)
    return selectable if isinstance(selectable, Table) else None


def _no_key() -> SourceError:
    return SourceError(
        "The source's select() has no primary key to be walked by; give a unique key=, "
        "such as key=Product.id."
    )
