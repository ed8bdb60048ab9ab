"""How a database would run what we ask, and runs so long that it matters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from sqlalchemy import event, text

from breakbulk.ledger import chunks
from breakbulk.ledger.driver import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import RunHandle
    from tests.support.yard import Yard

CHUNKS = 20_000


def plan_of(
    yard: Yard, act: Callable[[Connection], object], explain: str | None = None
) -> list[str]:
    """How the database would run the statements of an act, explained with their own values."""
    return explained(yard, statements_of(yard, act), explain)


def statements_of(yard: Yard, act: Callable[[Connection], object]) -> list[tuple[str, Any]]:
    """The statements of an act, with their values; what it does is rolled back."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
        asked.append((statement, given))

    def noting(connection: Any, query: str, values: Any) -> Any:
        asked.append((query, values))
        return ask(connection, query, values)

    with yard.engine.connect() as connection, patch.object(chunks, "ask", noting):
        event.listen(connection, "before_cursor_execute", note)
        act(connection)
        connection.rollback()
    return asked


def explained(yard: Yard, asked: list[tuple[str, Any]], explain: str | None = None) -> list[str]:
    """How the database would run these statements with these values."""
    plans: list[str] = []
    is_postgres = yard.engine.dialect.name == "postgresql"
    explain = explain or ("EXPLAIN " if is_postgres else "EXPLAIN QUERY PLAN ")
    with yard.engine.connect() as connection:
        for statement, given in asked:
            rows = connection.exec_driver_sql(explain + statement, given)
            plans.append("\n".join(str(row[0] if is_postgres else row[3]) for row in rows))
    return plans


def read_by(plan: str) -> int:
    """The most rows that any step of a PostgreSQL plan has read, by ``EXPLAIN (ANALYZE)``."""
    read = [
        int(float(rows)) * int(loops)
        for rows, loops in re.findall(r"actual rows=([\d.]+) loops=(\d+)", plan)
    ]
    removed = [int(rows) for rows in re.findall(r"Rows Removed by [\w ]+: (\d+)", plan)]
    return max(read + removed, default=0)


def instructions_of(yard: Yard, act: Callable[[Connection], object]) -> int:
    """How many instructions SQLite's machine takes for an act, in steps of a hundred.

    A row that is only looked at takes three or more.
    """
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 100
        return 0

    with yard.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(count, 100)
        act(connection)
        driver.set_progress_handler(None, 0)
        connection.rollback()
    return taken


def make_long_run(yard: Yard) -> RunHandle:
    """A run with many chunks: done, but for a few at its end."""
    handle = yard.submit(yard.job())
    schema = yard.ledger.database.schema
    with yard.engine.begin() as connection:
        connection.execute(
            text(
                f"WITH RECURSIVE numbers (n) AS"
                f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {CHUNKS})"
                f" INSERT INTO {schema.chunks.fullname} (run_id, number, path, status,"
                f" lane, after, upto, rows, rows_upto, attempt) SELECT :run, n, '',"
                f" CASE WHEN n <= {CHUNKS} - 5 THEN 'succeeded' ELSE 'carved' END, 0,"
                " CASE WHEN n > 1 THEN '[' || (n - 1) || ']' END, '[' || n || ']', 1, n, 1"
                " FROM numbers"
            ),
            {"run": handle.id},
        )
    with yard.engine.connect() as connection:
        options = connection.execution_options(isolation_level="AUTOCOMMIT")
        options.execute(text(f"ANALYZE {schema.chunks.fullname}"))
    return handle
