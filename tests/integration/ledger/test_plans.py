"""What runs for every chunk finds its row by the key, however many chunks there are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text

from breakbulk.domain.chunk import ChunkRef, RunId
from breakbulk.domain.status import ACTIVE, RunStatus
from tests.support.plans import CHUNKS, plan_of
from tests.support.yard import statements

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import RunHandle
    from breakbulk.ledger import Ledger
    from tests.support.yard import Yard

#: What was there before must not change plans.
NEW_FILES = True

RUNS = 5_000
FAILURES = 20_000


@pytest.fixture
def long_history(yard: Yard) -> RunHandle:
    """One run that is active, after many that have ended."""
    handle = yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    ended: dict[str, str] = {
        "id": "numbers.n + :run",
        "status": "'succeeded'",
        "finished_at": "submitted_at",
        "slot": "NULL",
    }
    columns = [column.name for column in runs.columns]
    with yard.engine.begin() as connection:
        connection.execute(
            text(
                "WITH RECURSIVE numbers (n) AS"
                f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {RUNS})"
                f" INSERT INTO {runs.fullname} ({', '.join(columns)})"
                f" SELECT {', '.join(ended.get(name, name) for name in columns)}"
                f" FROM {runs.fullname}, numbers WHERE id = :run"
            ),
            {"run": handle.id},
        )
    with yard.engine.connect() as connection:
        options = connection.execution_options(isolation_level="AUTOCOMMIT")
        options.execute(text(f"ANALYZE {runs.fullname}"))
    # SQLite reads what was found when a connection is opened.
    yard.engine.dispose()
    return handle


@pytest.fixture
def much_failed(postgres_yard: Yard) -> RunHandle:
    """A run of which much has failed, in so short a time that no statistics tell of it."""
    yard = postgres_yard
    handle = yard.submit(yard.job())
    failures = yard.ledger.database.schema.failures
    with yard.engine.begin() as connection:
        connection.execute(
            text(
                f"WITH RECURSIVE numbers (n) AS"
                f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {FAILURES})"
                f" INSERT INTO {failures.fullname} (run_id, round, at, number, path, attempt,"
                " error, message, traceback, rows)"
                # Every other one is of a run that is not there any more.
                " SELECT :run + n % 2, 1, submitted_at, n, '', 1, 'Boom', 'boom', 'trace', 10"
                f" FROM numbers, {yard.ledger.database.schema.runs.fullname} WHERE id = :run"
            ),
            {"run": handle.id},
        )
    return handle


def assert_by_key(plan: str, index: str) -> None:
    assert "Seq Scan on chunks" not in plan, plan
    assert "SCAN breakbulk_chunks" not in plan, plan
    assert index in plan, plan


def names(yard: Yard) -> tuple[str, str]:
    if yard.engine.dialect.name == "postgresql":
        return "pk_chunks", "ix_chunks_open"
    return "sqlite_autoindex_breakbulk_chunks_1", "ix_breakbulk_chunks_open"


def test_the_done_mark_uses_the_primary_key(yard: Yard, long_run: RunHandle) -> None:
    """Not the index of open chunks, which is full of dead entries behind a long transaction."""
    ref = ChunkRef(long_run.id, CHUNKS - 1)
    (plan,) = plan_of(
        yard, lambda connection: yard.ledger.chunks.mark_done(connection, ref, uuid4(), 1.0)
    )
    key, open_chunks = names(yard)
    assert_by_key(plan, key)
    assert open_chunks not in plan


def test_the_frontier_is_read_off_one_row(yard: Yard, long_run: RunHandle) -> None:
    lane = uuid4()
    (plan,) = plan_of(
        yard, lambda connection: yard.ledger.claims.frontier(connection, long_run.id, lane)
    )
    assert_by_key(plan, names(yard)[0])
    with yard.reading() as connection:
        frontier = yard.ledger.claims.frontier(connection, long_run.id, lane)
    assert (frontier.number, frontier.upto, frontier.rows) == (CHUNKS, (CHUNKS,), CHUNKS)


@pytest.mark.parametrize(
    "act",
    [
        lambda yard, connection, run: yard.ledger.chunks.any_unfinished(connection, run),
        lambda yard, connection, run: yard.ledger.claims.held_by(connection, run, [uuid4()]),
        lambda yard, connection, run: yard.ledger.claims.held_by_lane(connection, run, 0),
        lambda yard, connection, run: yard.ledger.lanes.demand(connection, {}),
        lambda yard, connection, run: yard.ledger.reports.chunks(
            connection, run, after=(CHUNKS // 2, ""), limit=10
        ),
    ],
    ids=["finished?", "claims by token", "claims by lane", "demand", "a page"],
)
def test_no_question_of_a_lane_reads_all_chunks(
    yard: Yard, long_run: RunHandle, act: Callable[[Yard, Connection, RunId], object]
) -> None:
    for plan in plan_of(yard, lambda connection: act(yard, connection, long_run.id)):
        assert "Seq Scan on chunks" not in plan, plan
        assert "SCAN breakbulk_chunks" not in plan, plan


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger, c, run: ledger.failures.recent(c, run, round=1, limit=100),
        lambda ledger, c, run: ledger.failures.latest(c, run),
        lambda ledger, c, run: ledger.failures.latest(c, run, chunk=ChunkRef(run, 8), limit=1),
        lambda ledger, c, run: ledger.failures.count(c, ChunkRef(run, 8)),
        lambda ledger, c, run: ledger.quarantine.page(c, run, after=8),
    ],
    ids=["recent", "latest", "of a chunk", "how many of a chunk", "a page of the quarantine"],
)
def test_postgres_no_question_about_failures_reads_all_of_them(
    postgres_yard: Yard,
    much_failed: RunHandle,
    ask: Callable[[Ledger, Connection, RunId], object],
) -> None:
    """Though the planner takes the run for a few rows."""
    ledger = postgres_yard.ledger
    explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
    (plan,) = plan_of(
        postgres_yard, lambda connection: ask(ledger, connection, much_failed.id), explain
    )
    read = [int(rows) for rows in re.findall(r"'Actual Rows': (\d+)", plan)]
    filtered = [int(rows) for rows in re.findall(r"'Rows Removed by [\w ]+': (\d+)", plan)]
    assert max(read + filtered) <= 1_000, plan


def test_progress_does_not_count_chunks(yard: Yard, long_run: RunHandle) -> None:
    plans = plan_of(
        yard,
        lambda connection: yard.ledger.reports.progress(connection, long_run.record()),
    )
    for plan in plans:
        assert "Seq Scan on chunks" not in plan, plan
        assert "SCAN breakbulk_chunks" not in plan, plan


def test_a_carve_is_one_insert_whatever_its_size(yard: Yard, long_run: RunHandle) -> None:
    from breakbulk.domain.chunk import Bounds, Cut

    counts = []
    for size in (1, 500):
        with yard.transaction() as connection:
            frontier = yard.ledger.claims.frontier(connection, long_run.id, uuid4())
            start = frontier.number
            cuts = [Cut(Bounds((start + n,), (start + n + 1,)), 1) for n in range(size)]
            with statements(yard.engine) as seen:
                claims = yard.ledger.claims.carve(
                    connection, long_run.id, frontier, cuts, lane=0, owner=uuid4(), exhausts=False
                )
        assert len(claims) == size
        counts.append(len(seen))
    assert counts == [1, 1]


def test_the_done_mark_names_nothing_but_key_and_token(yard: Yard) -> None:
    compiled = str(yard.ledger.chunks.done().compile(dialect=yard.engine.dialect))
    where = compiled.partition("WHERE")[2].partition("RETURNING")[0]
    assert where.count(" = ") == 4
    assert "status" not in where


@pytest.mark.parametrize(
    "ask",
    [
        lambda yard, connection: yard.ledger.lanes.demand(connection, {}),
        lambda yard, connection: yard.ledger.lanes.demand(
            connection, {}, queue="celery", jobs=list(yard.runtime.jobs.all())
        ),
        lambda yard, connection: yard.ledger.lanes.at_rest(connection),
        lambda yard, connection: yard.ledger.finishers.orphaned(connection),
        lambda yard, connection: yard.ledger.runs.active(connection),
        lambda yard, connection: yard.ledger.runs.find(connection, statuses=[RunStatus.RUNNING]),
        lambda yard, connection: yard.ledger.runs.find(connection, statuses=ACTIVE),
    ],
    ids=["demand", "demand of a queue", "at rest", "finishers", "active", "running", "not ended"],
)
def test_active_runs_are_found_without_those_that_have_ended(
    yard: Yard, long_history: RunHandle, ask: Callable[[Yard, Connection], object]
) -> None:
    prefix = "" if yard.engine.dialect.name == "postgresql" else "breakbulk_"
    (plan,) = plan_of(yard, lambda connection: ask(yard, connection))
    assert f"ix_{prefix}runs_active" in plan, plan
    assert "Seq Scan on runs" not in plan, plan
