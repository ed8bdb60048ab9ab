"""Reading some rows of a run in order, from the index that has them in order.

Asked for ``run_id = 12 ORDER BY id DESC LIMIT 20``, PostgreSQL may well walk the primary key from
its end, because it takes rows of all runs for evenly mixed, and read all that other runs have
written since: 60,000 rows for one. A comparison of whole rows leaves it no other index than the one
that begins with the run. SQLite in turn knows only the first column of such a comparison where the
last is its row id, and would read a run from its end down to the page; it is told the plain form.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Select, and_, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from breakbulk.domain.chunk import HIGHEST_ID


class by_dialect(FunctionElement[Any]):  # noqa: N801  (reads as the SQL function it is)
    """Two ways to say one condition: to PostgreSQL, and to SQLite."""

    # Not Boolean: SQLAlchemy would compare the whole with 1, which no index knows.
    type = NullType()
    inherit_cache = True
    name = "by_dialect"


@compiles(by_dialect, "postgresql")
def _to_postgresql(element: by_dialect, compiler: SQLCompiler, **kw: Any) -> str:
    said, _ = element.clauses
    return f"({compiler.process(said, **kw)})"


@compiles(by_dialect, "sqlite")
def _to_sqlite(element: by_dialect, compiler: SQLCompiler, **kw: Any) -> str:
    _, said = element.clauses
    return f"({compiler.process(said, **kw)})"


def newest_first(
    query: Select[Any],
    rows_id: Column[int],
    of: dict[Column[Any], Any],
    before: int | None = None,
) -> Select[Any]:
    """The query, of rows with these values, by their ids from the highest down.

    Args:
        rows_id: the column with the ids; the index has it after those of ``of``, in their order.
        before: only ids below this one.
    """
    columns, values = [*of], [*of.values()]
    first = tuple_(*columns) >= tuple_(*values) if len(of) > 1 else columns[0] >= values[0]
    place = tuple_(*columns, rows_id)
    last = (
        place <= tuple_(*values, HIGHEST_ID) if before is None else place < tuple_(*values, before)
    )
    plainly = [column == value for column, value in of.items()]
    plainly += [] if before is None else [rows_id < before]
    return query.where(by_dialect(and_(last, first), and_(*plainly))).order_by(
        *(column.desc() for column in (*columns, rows_id))
    )


def oldest_first(
    query: Select[Any], rows_id: Column[int], of: tuple[Column[Any], Any], after: int
) -> Select[Any]:
    """The query, of rows with this value, by their ids from the one after ``after`` up."""
    column, value = of
    rows = and_(tuple_(column, rows_id) > tuple_(value, after), column <= value)
    plainly = and_(column == value, rows_id > after)
    return query.where(by_dialect(rows, plainly)).order_by(column, rows_id)
