"""What an error of the database means for a chunk."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from breakbulk.domain.sizing import Cause
from breakbulk.errors import LedgerUnreachable, SchemaError
from breakbulk.ledger.database import Database
from breakbulk.ledger.faults import Fault, fault_of, pressure_of, translated


def wrapped(original: Exception, kind: type[DBAPIError] = DBAPIError, **given: Any) -> DBAPIError:
    return kind("SELECT 1", {}, original, **given)


def of_state(state: str) -> DBAPIError:
    return wrapped(psycopg.errors.lookup(state)("no"))


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("40001", Fault.TRANSIENT),
        ("40P01", Fault.TRANSIENT),
        ("55P03", Fault.TRANSIENT),
        ("25006", Fault.DATABASE),
        ("53100", Fault.DATABASE),
        ("53300", Fault.DATABASE),
        ("08006", Fault.CONNECTION),
        ("57P01", Fault.CONNECTION),
        ("57P03", Fault.CONNECTION),
        ("23505", Fault.ROWS),
        ("22012", Fault.ROWS),
        ("42P01", Fault.ROWS),
        ("57014", Fault.ROWS),
        ("40003", Fault.ROWS),
    ],
)
def test_postgres_says_it_by_a_code(state: str, fault: Fault) -> None:
    error = of_state(state)
    assert fault_of(error) is fault
    assert error.orig is not None
    assert fault_of(error.orig) is fault, "also one that came straight from the driver"


def test_a_pool_that_others_have_emptied_is_no_connection() -> None:
    assert (
        fault_of(PoolTimeout("QueuePool limit of size 5 overflow 10 reached")) is Fault.CONNECTION
    )


def test_a_statement_of_ours_takes_too_long_only_because_of_somebody_elses_lock() -> None:
    assert fault_of(of_state("57014"), ours=True) is Fault.TRANSIENT
    assert fault_of(of_state("42501"), ours=True) is Fault.ROWS


@pytest.mark.parametrize(
    ("original", "fault"),
    [
        (psycopg.OperationalError("connection refused"), Fault.CONNECTION),
        (sqlite3.OperationalError("database is locked"), Fault.TRANSIENT),
        (sqlite3.OperationalError("attempt to write a readonly database"), Fault.DATABASE),
        (sqlite3.OperationalError("database or disk is full"), Fault.DATABASE),
        (sqlite3.OperationalError("no such column: x"), Fault.ROWS),
        (sqlite3.IntegrityError("database is locked, says the user's trigger"), Fault.ROWS),
    ],
)
def test_others_say_it_in_words(original: Exception, fault: Fault) -> None:
    assert fault_of(wrapped(original)) is fault


def test_an_invalidated_connection_is_gone_whatever_was_said() -> None:
    error = wrapped(sqlite3.OperationalError("x"), connection_invalidated=True)
    assert fault_of(error) is Fault.CONNECTION


@pytest.mark.parametrize("error", [ValueError("database is locked"), OSError("gone"), KeyError(1)])
def test_what_is_not_the_databases_is_the_rows(error: Exception) -> None:
    assert fault_of(error) is Fault.ROWS


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (wrapped(psycopg.OperationalError("refused")), LedgerUnreachable),
        (
            wrapped(sqlite3.OperationalError("unable to open database file"), OperationalError),
            LedgerUnreachable,
        ),
        (
            wrapped(sqlite3.OperationalError("no such table: ours_runs"), OperationalError),
            SchemaError,
        ),
        (
            wrapped(psycopg.errors.UndefinedTable('"ours.runs" does not exist'), ProgrammingError),
            SchemaError,
        ),
        (
            wrapped(psycopg.errors.UndefinedTable("« ours.runs » n'existe pas"), ProgrammingError),
            SchemaError,
        ),
    ],
)
def test_the_caller_is_told_in_one_sentence(error: DBAPIError, kind: type[Exception]) -> None:
    known = Database("sqlite://", schema_name="ours")
    with pytest.raises(kind) as told, translated():
        raise error
    assert told.value.__cause__ is error
    assert "\n" not in str(told.value)
    assert known.schema_name == "ours"


@pytest.mark.parametrize(
    "error",
    [
        wrapped(sqlite3.OperationalError("no such table: goods"), OperationalError),
        wrapped(psycopg.errors.UndefinedTable('"shop.goods"'), ProgrammingError),
        wrapped(sqlite3.IntegrityError("UNIQUE"), IntegrityError),
        ValueError("x"),
    ],
)
def test_what_is_the_callers_own_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as told, translated():
        raise error
    assert told.value is error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (of_state("55P03"), Cause.LOCK),
        (of_state("40P01"), Cause.LOCK),
        (of_state("57014"), Cause.TIMEOUT),
        (of_state("53200"), Cause.MEMORY),
        (MemoryError(), Cause.MEMORY),
        (wrapped(sqlite3.OperationalError("database is locked")), Cause.LOCK),
        (wrapped(sqlite3.OperationalError("no such table: goods")), None),
        (of_state("40001"), None),
        (of_state("22012"), None),
        (ValueError("database is locked"), None),
    ],
)
def test_smaller_chunks_help_against_some_errors(error: Exception, cause: Cause | None) -> None:
    assert pressure_of(error) is cause
