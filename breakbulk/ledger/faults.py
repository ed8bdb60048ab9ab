"""What an error of the database means for a chunk.

Three kinds are not the rows' fault: what goes away by trying again at once, a connection that is
gone, and a database that cannot take any write. Everything else is the chunk's own failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from breakbulk.domain.sizing import Cause
from breakbulk.errors import LedgerUnreachable, SchemaError
from breakbulk.ledger.database import schema_names


class Fault(Enum):
    """Who is to blame, and what helps."""

    ROWS = "the chunk's own failure: an attempt is spent"
    TRANSIENT = "deadlock, serialization failure or lock timeout: again at once"
    CONNECTION = "there is no connection: again on a new one, claims read anew"
    DATABASE = "the database takes no writes: the run is held"


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRANSIENT = {"40001", "40P01", "55P03"}
_DATABASE = {"25006", "53100", "53200", "53300"}
_CONNECTION = ("08", "57P01", "57P02", "57P03")
_TOOK_TOO_LONG = "57014"
_PRESSURE = {
    "40P01": Cause.LOCK,
    "55P03": Cause.LOCK,
    _TOOK_TOO_LONG: Cause.TIMEOUT,
    "53200": Cause.MEMORY,
}


def fault_of(error: BaseException, *, ours: bool = False) -> Fault:
    """Classify an exception that came out of a transaction.

    Args:
        ours: of a statement of the ledger's own. These are short, so if one takes longer than
            ``statement_timeout`` allows, it waits for what somebody else has locked.
    """
    if isinstance(error, PoolTimeout):
        # Others of this process have all of the engine's connections.
        return Fault.CONNECTION
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return Fault.CONNECTION
        return _of_driver(error.orig, ours=ours)
    # A statement that went to the driver directly, in a pipeline.
    return _of_driver(error, ours=ours) if hasattr(error, "sqlstate") else Fault.ROWS


def is_in_the_way(error: BaseException) -> bool:
    """Whether a statement of the ledger's own was refused for what somebody else is at.

    Teams set a ``lock_timeout`` for all their sessions. It is nobody's fault: again, later.
    """
    return isinstance(error, DBAPIError) and fault_of(error, ours=True) is Fault.TRANSIENT


def _of_driver(error: BaseException | None, *, ours: bool) -> Fault:
    state = getattr(error, "sqlstate", None)
    if ours and state == _TOOK_TOO_LONG:
        return Fault.TRANSIENT
    if state is not None:
        return _of_state(str(state))
    message, kind = str(error), type(error).__name__
    if kind not in {"OperationalError", "InterfaceError"}:
        return Fault.ROWS
    if "database is locked" in message:
        return Fault.TRANSIENT
    if "readonly database" in message or "disk is full" in message:
        return Fault.DATABASE
    # libpq says "connection refused" and the like without any code.
    return Fault.CONNECTION if hasattr(error, "pgconn") else Fault.ROWS


def _of_state(state: str) -> Fault:
    if state in _TRANSIENT:
        return Fault.TRANSIENT
    if state in _DATABASE:
        return Fault.DATABASE
    return Fault.CONNECTION if state.startswith(_CONNECTION) else Fault.ROWS


def pressure_of(error: BaseException) -> Cause | None:
    """What a smaller chunk would help against; None when nothing of the kind is to be seen.

    A shorter transaction waits for fewer locks and holds its own for less long, a smaller statement
    is done in time, and fewer rows fit in less memory.
    """
    if isinstance(error, MemoryError):
        return Cause.MEMORY
    original = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "sqlstate", None)
    if state is not None:
        return _PRESSURE.get(str(state))
    locked = type(original).__name__ == "OperationalError" and "is locked" in str(original)
    return Cause.LOCK if locked else None


@contextmanager
def translated() -> Iterator[None]:
    """Tell the caller in one sentence when the ledger cannot be reached or is not there.

    Raises:
        LedgerUnreachable: no connection, or it was lost.
        SchemaError: the ledger's tables are missing.
    """
    try:
        yield
    except PoolTimeout as error:
        raise LedgerUnreachable(
            "All connections of the ledger's engine are in use: give it a larger pool_size, or run"
            " fewer slots in a process."
        ) from error
    except DBAPIError as error:
        first_line = str(error.orig).strip().partition("\n")[0]
        if _is_missing_table(error):
            raise SchemaError(
                "The ledger's tables are missing: run 'breakbulk db upgrade' first."
            ) from error
        if fault_of(error) is Fault.CONNECTION or "unable to open database" in first_line:
            raise LedgerUnreachable(
                f"The ledger's database does not answer ({first_line}):"
                " check the URL and that the server runs."
            ) from error
        raise


def _is_missing_table(error: DBAPIError) -> bool:
    message = str(error.orig)
    if isinstance(error, OperationalError):
        return any(f"no such table: {name}_" in message for name in schema_names())
    if not isinstance(error, ProgrammingError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    # PostgreSQL names schema and table, whatever language and quotation marks it uses.
    named = any(f"{name}." in message for name in schema_names())
    return state in {"42P01", "3F000"} and named
