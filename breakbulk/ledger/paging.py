"""Reading some rows of a run in order, from the index that has them in order.

Asked for ``run_id = 12 ORDER BY id DESC LIMIT 20``, PostgreSQL may well walk the primary key from
its end, because it takes rows of all runs for evenly mixed, and read all that other runs have
written since: 60,000 rows for one. A comparison of whole rows leaves it no other index than the one
that begins with the run.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Select, tuple_

from breakbulk.domain.chunk import HIGHEST_ID


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
    return query.where(last, first).order_by(*(column.desc() for column in (*columns, rows_id)))


def oldest_first(
    query: Select[Any], rows_id: Column[int], of: tuple[Column[Any], Any], after: int
) -> Select[Any]:
    """The query, of rows with this value, by their ids from the one after ``after`` up."""
    column, value = of
    return query.where(tuple_(column, rows_id) > tuple_(value, after), column <= value).order_by(
        column, rows_id
    )
