"""What the database's planner thinks of a statement, without executing it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ClauseElement, Executable, cast, func, select
from sqlalchemy.dialects.postgresql import OID
from sqlalchemy.ext.compiler import compiles

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select, Table
    from sqlalchemy.sql.compiler import SQLCompiler


@dataclass(frozen=True, slots=True)
class Guess:
    """The planner's guess.

    Attributes:
        rows: how many rows the statement gives.
        cost: its price in the planner's units; a page read in sequence costs 1.
    """

    rows: int
    cost: float


def guess(
    connection: Connection,
    statement: Select[*tuple[Any, ...]],
    values: dict[str, object] | None = None,
) -> Guess | None:
    """Ask the planner about a statement; None where there is no such planner."""
    if connection.dialect.name != "postgresql":
        return None
    told = connection.execute(_Explain(statement), values or {}).scalar_one()
    plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    return Guess(int(plan["Plan Rows"]), float(plan["Total Cost"]))


def shrink(connection: Connection, table: Table) -> float:
    """By how much the planner overrates a table: 1.0 where it does not, less where it does.

    It takes the rows of a page as they were at the last ANALYZE times the pages there are now.
    A table whose rows are all updated, which is what a run does, has grown to several times its
    pages by then, and would be taken for several times its rows.
    """
    if connection.dialect.name != "postgresql":
        return 1.0
    told = guess(connection, select(*table.primary_key.columns or table.columns))
    name = func.to_regclass(connection.dialect.identifier_preparer.format_table(table))
    live = connection.scalar(select(func.pg_stat_get_live_tuples(cast(name, OID))))
    if told is None or not live or told.rows <= live:
        return 1.0
    return float(live) / told.rows


class _Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self.statement = statement


@compiles(_Explain, "postgresql")
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    text = "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **options)
    # What comes back is a plan, to which the types of the statement's columns do not apply.
    compiler._result_columns = []  # noqa: SLF001
    return text
