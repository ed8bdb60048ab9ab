"""The few things that the databases spell differently, as SQLAlchemy expressions.

Every time in the ledger is the database's own clock, read when the statement runs. Not the
workers' clocks, which differ, and not ``now()``, which on PostgreSQL is the time when the
transaction began and therefore lies behind after any wait for a lock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

#: SQLite gives a row id only to a column that is declared exactly INTEGER.
ID = BigInteger().with_variant(Integer(), "sqlite")
#: A number, because how a timestamp reads depends on the session; as text, so that it is the same
#: whichever way it was fetched.
TRANSACTION_BEGAN = "CAST(EXTRACT(EPOCH FROM now()) AS text)"

#: A thousand years, in seconds: nobody waits longer, and no calendar goes much further.
LONGEST_WAIT = 1_000 * 365 * 86_400.0


class Instant(types.TypeDecorator[datetime]):
    """A point in time: ``timestamptz`` on PostgreSQL, UTC text of fixed width on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Send UTC: SQLite keeps no zone."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Give back an aware time whatever the database keeps."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class clock(FunctionElement[datetime]):  # noqa: N801  (reads as the SQL function it is)
    """The database's time at this moment, or that many seconds later: ``clock(15.0)``."""

    type = Instant()
    inherit_cache = True
    name = "clock"

    def __init__(self, *later: Any) -> None:
        super().__init__(
            *(min(one, LONGEST_WAIT) if isinstance(one, (int, float)) else one for one in later)
        )


@compiles(clock, "postgresql")
def _clock_postgresql(element: clock, compiler: SQLCompiler, **kw: Any) -> str:
    shift = compiler.process(element.clauses, **kw)
    if not shift:
        return "clock_timestamp()"
    return f"(clock_timestamp() + make_interval(secs => {shift}))"


@compiles(clock, "sqlite")
def _clock_sqlite(element: clock, compiler: SQLCompiler, **kw: Any) -> str:
    shift = compiler.process(element.clauses, **kw)
    # Three digits of a second, always: the text sorts as the time does.
    return _sqlite_now(f", ({shift}) || ' seconds'" if shift else "")


def _sqlite_now(shift: str) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now'{shift})"


class seconds_between(FunctionElement[float]):  # noqa: N801  (reads as the SQL function it is)
    """Seconds from the first time to the second."""

    type = types.Float()
    inherit_cache = True
    name = "seconds_between"


@compiles(seconds_between, "postgresql")
def _between_postgresql(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({end} - {start})) AS double precision)"


@compiles(seconds_between, "sqlite")
def _between_sqlite(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


class transaction_began(FunctionElement[Any]):  # noqa: N801  (reads as the SQL function it is)
    """When the open transaction began, which tells it from every other of its session."""

    type = types.NullType()
    inherit_cache = True
    name = "transaction_began"


@compiles(transaction_began, "postgresql")
def _began_postgresql(_element: transaction_began, _compiler: SQLCompiler, **_kw: Any) -> str:
    return TRANSACTION_BEGAN


@compiles(transaction_began, "sqlite")
def _began_sqlite(_element: transaction_began, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "NULL"
