"""What a page costs does not grow with chunks, failures and history: it is read off indexes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from breakbulk.web.views.run import _CELLS
from tests.integration.web.test_security import READING

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk import RunHandle
    from tests.support.yard import Yard

#: What was there before must not change plans.
NEW_FILES = True

CHUNKS, FAILED_EVERY, RUNS = 60_000, 20, 3_000
#: Of each run of the history.
TOLD = 10
#: Chunks that a lane holds of the run that goes on.
IN_HANDS = 100
#: The most rows that any step of any statement may read: the chunks that are compared for the
#: slowest, and as many failed ones as there are of a run that still goes on.
MOST = 3_500


@pytest.fixture
def yard(postgres_yard: Yard) -> Yard:
    """Plans are PostgreSQL's."""
    return postgres_yard


@pytest.fixture
def full(yard: Yard) -> tuple[RunHandle, RunHandle]:
    """A run that has ended and one that goes on, both of many chunks, after a long history."""
    ended = yard.run()
    going = yard.submit(yard.job(name="a.job"))
    schema = yard.ledger.database.schema
    runs = [column.name for column in schema.runs.columns if column.name != "slot"]
    copied = ", ".join("1000 + n" if name == "id" else f'"{name}"' for name in runs)
    statements = [
        f"DELETE FROM {schema.chunks.fullname}",
        (
            f"INSERT INTO {schema.runs.fullname} ({', '.join(runs)}) SELECT {copied}"
            f" FROM {schema.runs.fullname}, generate_series(1, {RUNS}) AS n WHERE id = {ended.id}"
        ),
        (
            f"INSERT INTO {schema.carves.fullname} (run_id, exhausted_at)"
            f" SELECT 1000 + n, now() FROM generate_series(1, {RUNS}) AS n"
        ),
    ]
    # Told and tried of each run of the history, as of one that took a while.
    old = f"generate_series(1, {RUNS}) AS r, generate_series(1, {TOLD}) AS n"
    statements += [
        (
            f"UPDATE {schema.runs.fullname} SET submitted_at = now() - {CHUNKS} * interval '1"
            f" second', started_at = now() - {CHUNKS} * interval '1 second' WHERE id < 1000"
        ),
        (
            f"INSERT INTO {schema.tallies.fullname} (run_id, at, lane, chunks, rows)"
            f" SELECT 1000 + r, now() - n * interval '1 hour', -1, 1, 10 FROM {old}"
        ),
        (
            f"INSERT INTO {schema.failure_tallies.fullname} (run_id, error, attempts, chunks,"
            " first_at, last_at, failure_id, step) SELECT 1000 + r, 'Boom', 1, 1,"
            f" now() - n * interval '1 hour', now() - n * interval '1 hour', n, 1 FROM {old}"
        ),
        (
            f"INSERT INTO {schema.activity.fullname} (run_id, at, actor, verb)"
            f" SELECT 1000 + r, now() - n * interval '1 hour', 'ana', 'lanes' FROM {old}"
        ),
    ]
    yard.lane(going)
    done = {ended.id: CHUNKS, going.id: CHUNKS - IN_HANDS}
    for run in (ended, going):
        statements += [
            (
                f"INSERT INTO {schema.stays.fullname} (run_id, lane, host, pid, started_at,"
                f" ended_at) SELECT {run.id}, 0, 'here', n,"
                " now() - (n + 1) * interval '5 seconds', now() - n * interval '5 seconds'"
                f" FROM generate_series(1, {CHUNKS // 5}) AS n"
            ),
            (
                f"INSERT INTO {schema.events.fullname} (run_id, type, at, message_id, payload)"
                f" SELECT {run.id}, 'run.paused', now(), n, '{{}}'"
                f" FROM generate_series(1, {CHUNKS // 10}) AS n"
            ),
            (
                f"INSERT INTO {schema.deliveries.fullname} (event_id, run_id, endpoint_id, status,"
                f" not_before, created_at, ended_at) SELECT id, run_id, 1, 'delivered', at, at, at"
                f" FROM {schema.events.fullname} WHERE run_id = {run.id}"
            ),
            (
                f"INSERT INTO {schema.tries.fullname} (delivery_id, at, code, milliseconds)"
                f" SELECT id, created_at, 200, n FROM {schema.deliveries.fullname},"
                f" generate_series(1, 3) AS n WHERE run_id = {run.id}"
            ),
            (
                f"INSERT INTO {schema.activity.fullname} (run_id, at, actor, verb)"
                f" SELECT {run.id}, now(), 'ana', 'lanes'"
                f" FROM generate_series(1, {CHUNKS // 10}) AS n"
            ),
            (
                f"INSERT INTO {schema.tallies.fullname} (run_id, at, lane, chunks, rows)"
                f" SELECT {run.id}, now() - ({CHUNKS} - n) * interval '1 second', 0, 1, 10"
                f" FROM generate_series(1, {CHUNKS}) AS n"
            ),
            (
                f"INSERT INTO {schema.chunks.fullname} (run_id, number, path, status, lane, after,"
                " upto, rows, rows_upto, attempt, seconds, ended_at)"
                f" SELECT {run.id}, n, '', CASE WHEN n > {done[run.id]} THEN 'carved'"
                f" WHEN n % {FAILED_EVERY} = 0 THEN 'failed' ELSE 'succeeded' END, 0,"
                " '[' || n - 1 || ']', '[' || n || ']', 10, n * 10, 1,"
                f" n % 7, now() - ({CHUNKS} - n) * interval '1 second'"
                f" FROM generate_series(1, {CHUNKS}) AS n"
            ),
            (
                f"INSERT INTO {schema.failures.fullname} (run_id, round, at, number, path, attempt,"
                f" error, message, traceback, rows) SELECT {run.id}, 1,"
                f" now() - ({CHUNKS} - n) * interval '1 second', n, '', 1,"
                " 'Boom' || n % 7, 'boom', 'trace', 10"
                f" FROM generate_series(1, {CHUNKS}) AS n"
            ),
            (
                f"INSERT INTO {schema.failure_tallies.fullname} (run_id, error, attempts, chunks,"
                f" first_at, last_at, failure_id) SELECT {run.id}, error, 1, 1, at, at, id"
                f" FROM {schema.failures.fullname} WHERE run_id = {run.id}"
            ),
            (
                f"INSERT INTO {schema.quarantine.fullname} (run_id, number, path, key, error,"
                f" message, attempts, round, at) SELECT {run.id}, n, '', '[' || n || ']', 'Boom',"
                f" 'boom', 1, 1, now() FROM generate_series(1, {CHUNKS // FAILED_EVERY}) AS n"
            ),
        ]
    with yard.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    with yard.transaction() as connection:
        yard.ledger.folding.fold(connection, 0)
    with yard.engine.connect() as connection:
        free = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in schema.metadata.tables.values():
            free.execute(text(f"VACUUM ANALYZE {table.fullname}"))
    return ended, going


PATHS = (
    "/",
    "/runs",
    "/runs?job=a.job&by=nobody&since=24+h",
    "/runs?status=cancelled",
    "/runs?by=nobody",
    "/jobs",
    "/jobs/a.job",
    "/runs/{ended}",
    "/runs/{going}",
    "/runs/{ended}/chunks",
    "/runs/{ended}/chunks?from=40000",
    "/runs/{ended}/chunks?status=failed&after=50000",
    "/runs/{ended}/chunks?status=succeeded&after=50000",
    "/runs/{ended}/chunks?status=waiting",
    "/runs/{ended}/chunks?status=cancelled",
    "/runs/{going}/chunks?status=carved",
    "/runs/{going}/chunks?status=succeeded",
    "/runs/{going}/chunks?status=waiting&from=30000",
    # One that has failed, one that was done, the one in hand, and one that waits for its turn.
    "/runs/{ended}/chunks/30000",
    "/runs/{ended}/chunks/30001",
    "/runs/{going}/chunks/59901",
    "/runs/{going}/chunks/59990",
    "/runs/{ended}/failures",
    "/runs/{ended}/failures?error=Boom3",
    "/runs/{ended}/failures?error=Nothing",
    "/runs/{ended}/report",
    "/runs/{going}/report",
    "/webhooks",
    "/webhooks?run={ended}",
    "/webhooks?endpoint=1",
    "/webhooks/deliveries/1",
    "/workers",
    "/metrics",
)


def test_every_page_is_looked_at() -> None:
    paths = [path.partition("?")[0].format(ended=1, going=1) for path in PATHS]
    for route, pattern in READING.items():
        known = re.sub(r"\d+", "{}", pattern.format(run=1, job="a.job", delivery=1))
        assert known in {re.sub(r"\d+", "{}", path) for path in paths}, route


def test_no_page_reads_more_than_it_shows(
    yard: Yard, full: tuple[RunHandle, RunHandle], viewer: TestApp
) -> None:
    ended, going = full
    for table in _LONG:
        assert yard.count(table) >= RUNS, table
    # One after the other on the same ledger: it takes longer to fill than to read.
    for path in PATHS:
        looks = looks_of(yard, viewer, path.format(ended=ended.id, going=going.id))
        assert looks or path == "/jobs"
        with yard.engine.connect() as connection:
            for statement, given in looks:
                explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT TEXT) "
                rows = connection.exec_driver_sql(explain + statement, given)
                judge(path, statement, "\n".join(str(row[0]) for row in rows))
    assert MOST >= 3 * _CELLS


def looks_of(yard: Yard, viewer: TestApp, path: str) -> list[tuple[str, Any]]:
    """What a page asks the ledger."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
        asked.append((statement, given))

    event.listen(yard.engine, "before_cursor_execute", note)
    try:
        viewer.get(path, status=200)
    finally:
        event.remove(yard.engine, "before_cursor_execute", note)
    return [(statement, given) for statement, given in asked if _is_look(statement)]


def judge(path: str, statement: str, plan: str) -> None:
    """It has read few rows, and those off indexes."""
    read = re.findall(r"actual rows=(\d+)\S* loops=(\d+)", plan)
    most = max(int(rows) * int(loops) for rows, loops in read)
    removed = [int(rows) for rows in re.findall(r"Rows Removed by [\w ]+: (\d+)", plan)]
    assert max(most, *removed, 0) <= MOST, f"{path}\n{statement}\n{plan}"
    for table in _LONG:
        assert f"Seq Scan on {table} " not in plan, f"{path}\n{statement}\n{plan}"


_LONG = (
    *("chunks", "failures", "runs", "quarantine", "stays", "events", "deliveries"),
    *("tallies", "failure_tallies", "activity", "tries"),
)


def _is_look(statement: str) -> bool:
    return statement.lstrip().startswith(("SELECT", "WITH")) and "pg_catalog" not in statement
