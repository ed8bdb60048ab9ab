"""What is measured for throttles, in the database that the rows are in.

Each look is a transaction of its own that writes nothing and takes a second at most, whatever a
user's statement does. A gauge that cannot be read says why; what that means is not decided here.

https://www.postgresql.org/docs/current/monitoring-stats.html
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.storable import storable
from breakbulk.domain.throttling import Gauge, Reading
from breakbulk.ledger.database import Database
from breakbulk.ledger.faults import Fault, fault_of

_SECONDS = 1.0
_LONGEST = 300
#: SQLite asks whether to go on after so many of its instructions.
_STEPS = 1_000
_GRANT = "GRANT pg_monitor TO {role}"
_TOOK_TOO_LONG = "57014"

# NULL while a standby that has everything hears nothing new; without the right to see it, the
# state is NULL, too. Copies of the whole database are none of it.
_REPLICAS = text(
    "SELECT coalesce(nullif(application_name, ''), host(client_addr), '') AS name, state,"
    " extract(epoch FROM replay_lag)::float8 AS lag, current_user::text AS role"
    " FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'"
)
# Our own lanes wait for each other, and for the application; it is the application that counts.
_WAITING = text(
    "SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'"
    " AND application_name NOT LIKE 'breakbulk lane %') AS waiting,"
    " count(*) FILTER (WHERE query = '<insufficient privilege>') AS hidden,"
    " max(current_user::text) AS role"
    " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def blind_role(connection: Connection) -> str | None:
    """The role of a session on PostgreSQL, if it may not see all that gauges tell."""
    query = text("SELECT current_user::text WHERE NOT pg_has_role('pg_read_all_stats', 'USAGE')")
    found: str | None = connection.execute(query).scalar()
    return found


class Gauges:
    """One look at a database's gauges; what several runs ask for is measured once.

    Args:
        connection: idle.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._known: dict[object, Any] = {}

    def replica_lag(self, at_most: float) -> Reading:
        """How far the replica that is furthest behind is, in seconds."""
        gauge = Gauge.REPLICA_LAG
        replicas = self._rows(gauge, _REPLICAS)
        if isinstance(replicas, Reading):
            return replicas
        if not replicas:
            return Reading.failed(gauge, "no replica is connected")
        if any(one.state is None for one in replicas):
            return Reading.failed(gauge, _may_not(replicas[0].role, "see replicas"))
        for one in replicas:
            if one.state != "streaming" and one.lag is None:
                return Reading.failed(gauge, f"the replica {one.name} is in the state {one.state}")
        worst = max(replicas, key=lambda one: one.lag or 0.0)
        lag = max(0.0, worst.lag or 0.0)
        says = f"replica lag is {lag:.1f} s ({worst.name}), at most {at_most:g} s"
        return Reading.of_value(gauge, says, round(lag, 3), at_most)

    def lock_waits(self, at_most: int) -> Reading:
        """How many sessions of the application wait for locks."""
        gauge = Gauge.LOCK_WAITS
        found = self._rows(gauge, _WAITING)
        if isinstance(found, Reading):
            return found
        (row,) = found
        if row.hidden:
            others = "see what sessions of other roles wait for"
            return Reading.failed(gauge, _may_not(row.role, others))
        sessions = "session waits" if row.waiting == 1 else "sessions wait"
        says = f"{row.waiting} {sessions} for locks, at most {at_most}"
        return Reading.of_value(gauge, says, row.waiting, at_most)

    def check(self, statement: str) -> Reading:
        """What a user's statement says: NULL, false or no row is nothing."""
        gauge = Gauge.CHECK
        rows = self._rows(gauge, statement)
        if isinstance(rows, Reading):
            return rows
        said = rows[0][0] if rows and len(rows[0]) else None
        if isinstance(said, str):
            reason = storable(" ".join(said.split()), _LONGEST)
            return Reading(gauge, f"its check says: {reason}", bool(reason), not reason)
        return Reading(gauge, "its check says so", bool(said), not said)

    def _rows(self, gauge: Gauge, statement: Any) -> Any:
        """All rows, or why there are none."""
        key = str(statement)
        if key not in self._known:
            try:
                with self._looking():
                    self._known[key] = self._asked(statement)
            except DBAPIError as error:
                if fault_of(error) is Fault.CONNECTION:
                    raise
                self._known[key] = _why(error)
            except Exception as error:  # noqa: BLE001  (a driver may not know what a check gives)
                self._known[key] = storable(f"{type(error).__name__}: {error}", _LONGEST)
        found = self._known[key]
        return Reading.failed(gauge, found) if isinstance(found, str) else found

    def _asked(self, statement: Any) -> Any:
        if not isinstance(statement, str):
            return self._connection.execute(statement).all()
        # As it is: neither colons nor per cent signs are places for values.
        plain = {"no_parameters": True}
        result = self._connection.exec_driver_sql(statement, execution_options=plain)
        row = result.fetchone() if result.returns_rows else None
        return [] if row is None else [row]

    @contextmanager
    def _looking(self) -> Iterator[None]:
        connection = self._connection
        begun = connection.begin()
        try:
            if self._database.is_postgresql:
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                limit = f"set_config('statement_timeout', '{int(_SECONDS * 1000)}', true)"
                connection.exec_driver_sql(f"SELECT {limit}")
                yield
            else:
                with _limited(connection):
                    yield
        finally:
            begun.rollback()


@contextmanager
def _limited(connection: Connection) -> Iterator[None]:
    """SQLite has neither a limit on a statement's time nor transactions that only read."""
    driver: Any = connection.connection.driver_connection
    until = time.monotonic() + _SECONDS

    def late() -> bool:
        return time.monotonic() > until

    connection.exec_driver_sql("PRAGMA query_only = ON")
    driver.set_progress_handler(late, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, _STEPS)
        connection.exec_driver_sql("PRAGMA query_only = OFF")


def _may_not(role: str, what: str) -> str:
    return f"the role {role} may not {what} ({_GRANT.format(role=role)})"


def _why(error: DBAPIError) -> str:
    late = getattr(error.orig, "sqlstate", None) == _TOOK_TOO_LONG
    if late or str(error.orig) == "interrupted":
        return f"it took longer than {_SECONDS:g} s"
    return storable(str(error.orig).strip().partition("\n")[0], _LONGEST)
