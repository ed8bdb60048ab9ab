"""BEGIN and a transaction's first question in one message to PostgreSQL.

psycopg sends BEGIN by itself and waits for the answer, also in a pipeline (seen on the wire), and
entering and leaving a pipeline takes 0.15 to 0.2 ms of CPU, as much as all the rest that psycopg
does for a short chunk.
"""

from __future__ import annotations

from typing import Any


def begin_with(driver: Any, query: str) -> tuple[bytes | None, ...]:
    """Ask a query that has one row, as the first of a transaction; its values as text.

    Args:
        driver: psycopg's connection. If it is in a transaction already, because the team's
            own listeners have begun one, that one goes on.
        query: without parameters.

    Raises:
        psycopg.Error: what the server said.
    """
    from psycopg import generators, pq
    from psycopg.errors import error_from_result

    with driver.lock:
        idle = driver.info.transaction_status == pq.TransactionStatus.IDLE
        driver.pgconn.send_query((f"{_begin(driver)};{query}" if idle else query).encode())
        answer = driver.wait(generators.execute(driver.pgconn))[-1]
    if answer.status != pq.ExecStatus.TUPLES_OK:
        raise error_from_result(answer)
    return tuple(answer.get_value(0, column) for column in range(answer.nfields))


def _begin(driver: Any) -> str:
    # What psycopg would send: SQLAlchemy tells it the user's isolation level.
    words = ["BEGIN"]
    if driver.isolation_level is not None:
        words.append(f"ISOLATION LEVEL {driver.isolation_level.name.replace('_', ' ')}")
    if driver.read_only is not None:
        words.append("READ ONLY" if driver.read_only else "READ WRITE")
    if driver.deferrable is not None:
        words.append("DEFERRABLE" if driver.deferrable else "NOT DEFERRABLE")
    return " ".join(words)
