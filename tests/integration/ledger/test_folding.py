"""Folding tallies: nothing is lost, a short run keeps its shape, and a long one stays cheap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, text, update

from breakbulk.domain.series import stretch
from tests.support.yard import Boom, together

if TYPE_CHECKING:
    from breakbulk import Chunk, RunHandle
    from breakbulk.domain.series import Series
    from tests.support.yard import Goods, Yard

BEGAN = datetime(2026, 3, 1, 12, 0, 7, 250_000, tzinfo=UTC)
LANES = 3


def make_history(yard: Yard, seconds: int) -> RunHandle:
    """A run that has ended after so many seconds: each lane told of 10 rows every second."""
    handle = yard.submit(yard.job())
    schema = yard.ledger.database.schema
    with yard.engine.begin() as connection:
        connection.execute(
            update(schema.runs)
            .where(schema.runs.c.id == handle.id)
            .values(
                started_at=BEGAN,
                submitted_at=BEGAN,
                finished_at=BEGAN + timedelta(seconds=seconds),
                status="succeeded",
            )
        )
        told: list[dict[str, Any]] = [
            {
                "run_id": handle.id,
                "at": BEGAN + timedelta(seconds=second),
                "lane": lane,
                "chunks": 1,
                "rows": 10,
            }
            for second in range(1, seconds + 1)
            for lane in range(LANES)
        ]
        connection.execute(insert(schema.tallies), told)
        failed: list[dict[str, Any]] = [
            {
                "run_id": handle.id,
                "error": f"Error{second % 2}",
                "place": None if second % 3 else "shop.py:1",
                "attempts": 1,
                "chunks": second % 2,
                "first_at": BEGAN + timedelta(seconds=second),
                "last_at": BEGAN + timedelta(seconds=second),
                "failure_id": second,
            }
            for second in range(1, seconds + 1)
        ]
        connection.execute(insert(schema.failure_tallies), failed)
    return handle


def fold(yard: Yard) -> int:
    with yard.transaction() as connection:
        return yard.ledger.folding.fold(connection, 60)


@pytest.mark.parametrize("seconds", [15, 300, 2_000])
def test_a_curve_is_the_same_before_and_after(yard: Yard, seconds: int) -> None:
    handle = make_history(yard, seconds)
    before = handle.series()
    assert before.seconds == stretch(seconds)
    assert sum(point.rows for point in before.points) == seconds * LANES * 10
    assert sum(point.failures for point in before.points) == seconds
    told = yard.count("tallies")
    fold(yard)
    assert yard.count("tallies") < told
    assert handle.series() == before
    assert fold(yard) == 0, "once is enough"
    assert len(before.points) >= 15


def groups(yard: Yard) -> dict[tuple[Any, Any], tuple[Any, ...]]:
    found: dict[tuple[Any, Any], tuple[Any, ...]] = {}
    for row in yard.rows_of("failure_tallies"):
        kind = (row["error"], row["place"])
        attempts, chunks, first, last, latest = found.get(
            kind, (0, 0, row["first_at"], row["last_at"], 0)
        )
        found[kind] = (
            attempts + row["attempts"],
            chunks + row["chunks"],
            min(first, row["first_at"]),
            max(last, row["last_at"]),
            max(latest, row["failure_id"]),
        )
    return found


def test_what_failed_adds_up_all_the_same(yard: Yard) -> None:
    make_history(yard, 300)
    before = groups(yard)
    assert len(before) == 4
    fold(yard)
    assert groups(yard) == before
    assert yard.count("failure_tallies") <= 4 * 31


def test_the_longer_a_run_the_coarser_its_history(yard: Yard) -> None:
    handle = make_history(yard, 100)
    fold(yard)
    assert {row["lane"] for row in yard.rows_of("tallies")} == {-1}
    runs = yard.ledger.database.schema.runs
    for hours in (1, 10):
        finer = yard.count("tallies")
        end = BEGAN + timedelta(hours=hours)
        with yard.engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == handle.id).values(finished_at=end))
            for _ in range(2):
                one = {"run_id": handle.id, "lane": 0, "chunks": 1, "rows": 10}
                connection.execute(
                    insert(yard.ledger.database.schema.tallies),
                    [{**one, "at": end - timedelta(seconds=5)}],
                )
        fold(yard)
        assert {row["lane"] for row in yard.rows_of("tallies")} == {-stretch(hours * 3_600)}
        assert yard.count("tallies") < finer
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 100 * LANES * 10 + 40


def test_what_is_not_finished_is_added_to(yard: Yard) -> None:
    """A stretch that is folded in two parts is one in the end."""
    handle = make_history(yard, 300)
    fold(yard)
    rows = yard.count("tallies")
    late = {"run_id": handle.id, "lane": 0, "chunks": 1, "rows": 7}
    with yard.engine.begin() as connection:
        connection.execute(
            insert(yard.ledger.database.schema.tallies),
            [{**late, "at": BEGAN + timedelta(seconds=n)} for n in (298, 299)],
        )
    fold(yard)
    assert yard.count("tallies") == rows
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 300 * LANES * 10 + 14


def test_two_who_fold_at_once_count_nothing_twice(yard: Yard) -> None:
    make_history(yard, 300)
    before = groups(yard)
    assert not [one for one in together(*[lambda: fold(yard)] * 2) if isinstance(one, Exception)]
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 300 * LANES * 10
    assert groups(yard) == before


def test_groups_are_what_all_failures_say(yard: Yard) -> None:
    """Through retries, halves and rounds, folded or not."""

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            if row.id in {3, 4, 17}:
                raise (Boom if row.id < 10 else KeyError)(row.id)

    def finished(_run: object) -> None:
        raise ValueError

    handle = yard.run(process, max_retries=1, finished=finished)
    fold(yard)
    handle.retry()
    yard.settle(handle)
    rows = yard.rows_of("failures")
    found: Series = handle.series()
    assert sum(point.failures for point in found.points) == len(rows)
    for group in handle.failure_groups():
        of_kind = [r for r in rows if (r["error"], r["place"]) == (group.error, group.place)]
        numbers = {r["number"] for r in of_kind} - {None}
        assert (group.attempts, group.chunks) == (len(of_kind), len(numbers))
        latest = max(of_kind, key=lambda r: r["id"])
        assert group.example == latest["message"]
        assert group.first_at.replace(tzinfo=None) == min(
            r["at"].replace(tzinfo=None) for r in of_kind
        )
        assert group.last_at.replace(tzinfo=None) == latest["at"].replace(tzinfo=None)
    kinds = {(r["error"], r["place"]) for r in rows}
    assert len(handle.failure_groups()) == len(kinds) >= 3


def test_what_failed_before_the_upgrade_is_counted_as_well(yard: Yard) -> None:
    """What the migration tells of old failures is what they would have told themselves."""

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            if row.id in {3, 4, 17}:
                raise (Boom if row.id < 10 else KeyError)(row.id)

    yard.run(process, max_retries=1)
    before = groups(yard)
    fullname = yard.ledger.database.schema.failure_tallies.fullname
    module = import_module("breakbulk.ledger.migrations.versions.v0004_looking")
    statement = module.told_before(yard.ledger.database.schema)
    with yard.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM {fullname}"))
        connection.execute(statement)
    assert groups(yard) == before
