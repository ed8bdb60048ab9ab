"""Runs are found off indexes, by whatever they are asked for, after a long history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import case, insert, literal, null, select, text

from breakbulk.domain.status import ACTIVE, FINISHED, RunStatus
from tests.support.plans import explained, instructions_of, read_by, statements_of

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.yard import Yard

#: What was there before must not change plans.
NEW_FILES = True

#: At five times as many the plans were the same.
RUNS = 20_000
PAGE = 51
#: Rows that any step may read on PostgreSQL, and instructions that SQLite's machine may take for
#: one page; a look at each run would take three times as many of either.
MOST, MOST_INSTRUCTIONS = 500, 20_000
_PAST = datetime(2020, 1, 1, tzinfo=UTC)

LOOKS: dict[str, dict[str, Any]] = {
    "all": {},
    **{str(status): {"statuses": [status]} for status in RunStatus},
    "active": {"statuses": ACTIVE},
    "finished": {"statuses": FINISHED},
    "any": {"statuses": RunStatus},
    "rare ones": {"statuses": [RunStatus.CANCELLED, RunStatus.FAILED]},
    "of both kinds": {"statuses": [RunStatus.RUNNING, RunStatus.FAILED]},
    "all but succeeded": {"statuses": set(RunStatus) - {RunStatus.SUCCEEDED}},
    "further back": {"statuses": [RunStatus.CANCELLED], "before": -10_000},
    "of a job": {"job": "b.job"},
    "of no job": {"job": "c.job"},
    "of a job, cancelled": {"job": "a.job", "statuses": [RunStatus.CANCELLED]},
    "of a job, rare": {"job": "b.job", "statuses": [RunStatus.CANCELLED, RunStatus.FAILED]},
    "by somebody": {"submitted_by": "ana"},
    "by nobody": {"submitted_by": "nobody"},
    "of the last hour": {"within": 3_600.0},
    "of the last hour, succeeded": {"within": 3_600.0, "statuses": [RunStatus.SUCCEEDED]},
}


@pytest.fixture
def history(yard: Yard) -> RunHandle:
    """One run goes on, after many that have ended long ago, most of them well."""
    run = yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < RUNS))
    n = numbers.c.n
    past = literal(_PAST, runs.c.finished_at.type)
    values = {
        # Before the run that goes on.
        "id": n - RUNS,
        "finished_at": past,
        "submitted_at": past,
        "slot": null(),
        "status": case(
            (n % 1_000 == 1, "failed"),
            (n < 50, "cancelled"),
            (n % 3 == 0, "partial"),
            else_="succeeded",
        ),
        "job": case((n % 2 == 0, "a.job"), else_="b.job"),
        "submitted_by": case((n % 5 == 0, "ana"), else_="ben"),
    }
    kept = [column for column in runs.c if column.name not in values]
    old = select(*kept).where(runs.c.id == run.id).cte("old")
    with yard.engine.begin() as connection:
        connection.execute(
            insert(runs).from_select(
                [*values, *(column.name for column in kept)],
                select(*values.values(), *old.c).select_from(numbers.join(old, literal(True))),
            )
        )
    with yard.engine.connect() as connection:
        free = connection.execution_options(isolation_level="AUTOCOMMIT")
        free.execute(text(f"ANALYZE {runs.fullname}"))
    # SQLite reads what was found when a connection is opened.
    yard.engine.dispose()
    return run


def test_a_page_of_runs_reads_no_more_than_it_shows(yard: Yard, history: RunHandle) -> None:
    too_much = []
    for name, wanted in LOOKS.items():

        def look(connection: Any, wanted: dict[str, Any] = wanted) -> list[Any]:
            return yard.ledger.runs.find(connection, limit=PAGE, **wanted)

        if yard.engine.dialect.name == "sqlite":
            if (taken := instructions_of(yard, look)) > MOST_INSTRUCTIONS:
                too_much.append(f"{name}: {taken}")
            continue
        (plan,) = explained(yard, statements_of(yard, look), "EXPLAIN (ANALYZE, TIMING OFF) ")
        if read_by(plan) > MOST:
            too_much.append(f"{name}: {read_by(plan)}\n{plan}")
    assert not too_much, "\n\n".join(too_much)


def test_what_is_found_is_what_a_plain_filter_finds(yard: Yard, history: RunHandle) -> None:
    everything = sorted(yard.rows_of("runs"), key=lambda row: -int(row["id"]))

    def fits(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
        return (
            wanted.get("job", row["job"]) == row["job"]
            and wanted.get("submitted_by", row["submitted_by"]) == row["submitted_by"]
            and ("statuses" not in wanted or row["status"] in map(str, wanted["statuses"]))
            and ("before" not in wanted or row["id"] < wanted["before"])
            and ("within" not in wanted or row["id"] == history.id)
        )

    for name, wanted in LOOKS.items():
        with yard.reading() as connection:
            found = yard.ledger.runs.find(connection, limit=PAGE, **wanted)
        expected = [row["id"] for row in everything if fits(row, wanted)][:PAGE]
        assert [run.id for run in found] == expected, name
        if expected:
            with yard.reading() as connection:
                rest = yard.ledger.runs.find(
                    connection, limit=PAGE, **{**wanted, "before": expected[len(expected) // 2]}
                )
            assert [run.id for run in rest][: len(expected) // 2] == expected[
                len(expected) // 2 + 1 :
            ], name
