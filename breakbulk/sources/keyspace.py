"""A select and the columns it is walked by: everything that compares keys, in SQL only."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    CHAR,
    REAL,
    Column,
    Connection,
    Float,
    Integer,
    Select,
    Table,
    Uuid,
    and_,
    bindparam,
    cast,
    or_,
    tuple_,
)
from sqlalchemy.exc import DataError

from breakbulk.domain.keys import Key, decode_key, encode_key
from breakbulk.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import BindParameter, ColumnElement, Dialect, Executable, Row

Statement = Select[*tuple[Any, ...]]


SINGLE_PRECISION = 24
"""Bits up to which SQL's FLOAT(n) is a float4."""


@dataclass(frozen=True)
class KeySpace:
    """The key of a statement.

    Attributes:
        statement: the user's select, untouched.
        columns: the key's columns as the statement names them (of an alias, say).
        base: the same columns of the table itself, which the walk counts its steps in.
        single: each row of the table gives one row of the statement at most.
        nullable: rows of the statement may have NULL in the key, for all anybody has declared.
    """

    statement: Statement
    columns: tuple[ColumnElement[Any], ...]
    base: tuple[Column[Any], ...]
    single: bool
    nullable: bool

    @property
    def table(self) -> Table:
        """The base table."""
        table = self.base[0].table
        assert isinstance(table, Table)
        return table

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the key's columns."""
        return tuple(column.name for column in self.base)

    def within(
        self, columns: Sequence[ColumnElement[Any]], *, after: bool, upto: bool = True
    ) -> list[ColumnElement[bool]]:
        """Conditions on a range of keys, whose ends :meth:`binds` gives at execution."""
        conditions: list[ColumnElement[bool]] = []
        if after:
            conditions.append(_compare(operator.gt, columns, self._named("after")))
        if upto:
            conditions.append(_compare(operator.le, columns, self._named("upto")))
        return conditions + self._reachable(columns)

    def beyond(
        self, columns: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]
    ) -> ColumnElement[bool]:
        """The condition on a key to lie behind another one that the database has at hand."""
        return _compare(operator.gt, columns, other)

    def between(
        self, columns: Sequence[ColumnElement[Any]], after: Key | None, upto: Key
    ) -> list[ColumnElement[bool]]:
        """Conditions on a range of keys, with the ends in them."""
        conditions = [_compare(operator.le, columns, self._literal(upto))]
        if after is not None:
            conditions.insert(0, _compare(operator.gt, columns, self._literal(after)))
        return conditions + self._reachable(columns)

    def missing(self, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Hold for rows that no walk reaches."""
        return or_(*(column.is_(None) for column in columns))

    def binds(self, end: str, key: Key) -> dict[str, object]:
        """Values of one end of a range.

        Raises:
            SourceError: the key has another number of columns.
        """
        if len(key) != len(self.base):
            raise SourceError(
                f"The key {encode_key(key)} does not fit the key columns {', '.join(self.names)}."
            )
        return {_bind_name(end, number): value for number, value in enumerate(key)}

    def one_of(self, keys: int) -> ColumnElement[bool]:
        """Hold for rows of the base table whose key is one of so many, named ``key_<n>``."""
        return or_(
            *(
                and_(
                    *(
                        column == _bound(column, _bind_name(f"key_{key}", number))
                        for number, column in enumerate(self.base)
                    )
                )
                for key in range(keys)
            )
        )

    def key(self, values: Iterable[object]) -> Key:
        """Make a key of what the database gave, exactly as the ledger will give it back.

        Raises:
            SourceError: a value is of a type that cannot be a key.
        """
        return decode_key(encode_key(tuple(values)))  # type: ignore[arg-type]

    def certain(self, key: Key, dialect: Dialect) -> bool:
        """Whether nothing can have happened to a key on its way through Python.

        An integer that came as one compares as one, whatever the column really is, and so
        does a UUID where it is a type. All others are asked about (:mod:`.witness`).
        """
        sure: tuple[type, ...] = (Integer, Uuid) if dialect.supports_native_uuid else (Integer,)
        return all(
            isinstance(column.type, sure) and type(value) is column.type.python_type
            for column, value in zip(self.base, key, strict=True)
        )

    def _reachable(self, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[bool]]:
        # (5, NULL) <= (7, 1) is true: a row comparison alone lets such rows in.
        if columns is self.base:  # the statement's own filter does not apply to it
            return [column.is_not(None) for column in self.base if column.nullable]
        return [column.is_not(None) for column in columns] if self.nullable else []

    def _named(self, end: str) -> list[ColumnElement[Any]]:
        return [_bound(column, _bind_name(end, number)) for number, column in enumerate(self.base)]

    def _literal(self, key: Key) -> list[ColumnElement[Any]]:
        return [
            _own_type(column, bindparam(None, value, type_=column.type, unique=True))
            for column, value in zip(self.base, key, strict=True)
        ]


def fetch(
    connection: Connection, statement: Executable, values: dict[str, object]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Execute a statement about keys and read all of its few rows.

    Raises:
        SourceError: a value is out of the range of its Python type, such as ``infinity``.
    """
    try:
        return connection.execute(statement, values).all()
    except (DataError, ValueError, OverflowError, ArithmeticError) as error:
        raise SourceError(
            f"A key cannot be read from or sent to the database ({_cause(error)}); walk the rows "
            "by another key=."
        ) from error


def _cause(error: Exception) -> str:
    original = error.orig if isinstance(error, DataError) else error
    return str(original).strip().rstrip(".")


def _compare(
    compare: Callable[[Any, Any], Any],
    columns: Sequence[ColumnElement[Any]],
    values: Sequence[ColumnElement[Any]],
) -> ColumnElement[bool]:
    if len(columns) == 1:
        single: ColumnElement[bool] = compare(columns[0], values[0])
        return single
    # A row comparison, because a chain of ORs does not use the index.
    row: ColumnElement[bool] = compare(tuple_(*columns), tuple_(*values))
    return row


def _bind_name(role: str, number: int) -> str:
    return f"breakbulk_{role}_{number}"


def _bound(column: Column[Any], name: str) -> ColumnElement[Any]:
    return _own_type(column, bindparam(name, type_=column.type))


def _own_type(column: Column[Any], bind: BindParameter[Any]) -> ColumnElement[Any]:
    # Drivers send a float as float8 and text as varchar. Against these a float4 column is
    # compared in double precision, where 0.1 is another number, and char(n) loses its padding.
    kind = column.type
    short = isinstance(kind, Float) and (kind.precision or SINGLE_PRECISION + 1) <= SINGLE_PRECISION
    return cast(bind, kind) if short or isinstance(kind, (REAL, CHAR)) else bind
