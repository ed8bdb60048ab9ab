"""Lanes that wait for a lock of the application's, or that the application waits for.

A statement that fails for a lock tells its lane. One that only waits tells nobody, and a lane
cannot see who waits for it. So somebody has to look at the sessions from outside.

https://www.postgresql.org/docs/current/view-pg-locks.html
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

# Lanes that wait for each other are none of it. Nor is a lane between two chunks: it waits for the
# ledger's own rows then, and a chunk of any size would not change that. At a chunk it has the lock
# that is the chunk's name. Not by wait_event_type, which other roles may not see.
_PAIRS = text(
    "WITH pairs AS MATERIALIZED ("
    " SELECT pid AS waiting, unnest(pg_blocking_pids(pid)) AS holding,"
    " extract(epoch FROM clock_timestamp() - waitstart)::float8 AS seconds"
    " FROM pg_locks WHERE NOT granted)"
    " SELECT lane.application_name AS label, lane.pid = pairs.waiting AS waits,"
    " max(pairs.seconds) AS seconds"
    " FROM pairs JOIN pg_stat_activity AS lane ON lane.pid IN (pairs.waiting, pairs.holding)"
    " JOIN pg_stat_activity AS other ON other.pid IN (pairs.waiting, pairs.holding)"
    " WHERE lane.datname = current_database()"
    " AND lane.application_name LIKE 'breakbulk lane %'"
    " AND coalesce(other.application_name, '') NOT LIKE 'breakbulk lane %'"
    " AND (NOT :named OR EXISTS (SELECT FROM pg_locks AS name WHERE name.pid = lane.pid"
    " AND name.locktype = 'advisory' AND name.granted))"
    " GROUP BY lane.application_name, lane.pid = pairs.waiting"
)


@dataclass(frozen=True, slots=True)
class LockWait:
    """A lane at a chunk, and the application.

    Attributes:
        label: the name of the lane's session.
        waits: it is the lane that waits; False: somebody waits for it.
        seconds: for how long.
    """

    label: str
    waits: bool
    seconds: float


def lock_waits(connection: Connection, *, named: bool) -> list[LockWait]:
    """Who waits, in the database that the rows are in; PostgreSQL only.

    Args:
        named: chunks take their name as a lock there, because the ledger is there as well.
    """
    found = connection.execute(_PAIRS, {"named": named})
    # When a wait began is not told in its very first moment.
    return [LockWait(row.label, row.waits, row.seconds or 0.0) for row in found]
