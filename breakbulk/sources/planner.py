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


_UNEXPLAINED = 4
"""Times the rows, living and dead, beyond which a table's pages say that some were not counted."""


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


def live_rows(connection: Connection, table: Table) -> int | None:
    """How many rows the server has counted in a table as they came and went; None if it cannot say.

    A planner takes the rows of a page as they were at the last ANALYZE, or fancies them from the
    types of the columns before the first one, times the pages there are now. So it overrates a
    table whose rows were all updated, which is what a run does, and knows little of a new one. The
    server's count knows better, until a crash makes it forget: what is left then explains nothing
    like the pages there are, and is not believed.
    """
    if connection.dialect.name != "postgresql":
        return None
    told = guess(connection, select(*table.primary_key.columns or table.columns))
    name = cast(func.to_regclass(connection.dialect.identifier_preparer.format_table(table)), OID)
    counts = select(func.pg_stat_get_live_tuples(name), func.pg_stat_get_dead_tuples(name))
    live, dead = connection.execute(counts).one()
    if told is None or not live or told.rows > _UNEXPLAINED * (live + (dead or 0)):
        return None
    return int(live)


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
