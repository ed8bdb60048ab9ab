"""How much of a run may fail: counted no more often than it matters, and exactly in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from breakbulk import RunStatus
from tests.support.yard import Boom, Goods, Yard, statements, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Engine

    from breakbulk import Chunk


def failing_on(bad: Collection[int]) -> Callable[[Chunk[Goods]], None]:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        for row in chunk:
            if row.id in bad:
                raise Boom(f"row {row.id}")

    return process


def test_what_is_too_much_is_known_for_certain_at_the_end(clean_engine: Engine) -> None:
    """The planner's guess may be far too high, and what it tolerates with it.

    All that fails is in the first chunk, and is given up before the last one is carved.
    """
    yard = Yard(clean_engine, rows=400, shared=True, max_carve=1)
    told: list[str] = []
    job = yard.job(
        failing_on({1, 3, 5}),
        failed=lambda run: told.append(str(run.reason)),
        chunk_size=5,
        max_retries=0,
        tolerate="0.5%",
    )
    handle = yard.submit(job)
    with yard.transaction() as connection:
        runs = yard.ledger.database.schema.runs
        connection.execute(update(runs).values(rows_estimate=1_000_000))
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason == "3 rows of 400 failed, more than tolerate=0.5%"
    assert told == [record.reason]
    assert yard.notices() == []
    assert len(handle.errors()) == 3
    yard.close()


@pytest.mark.thorough
def test_failed_rows_are_counted_only_as_often_as_it_matters(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=60, shared=True)
    bad = set(range(1, 60, 2))
    with statements(yard.engine) as seen:
        handle = yard.run(failing_on(bad), chunk_size=20, max_retries=0, tolerate=5_000)
    assert handle.status() is RunStatus.PARTIAL
    assert len(handle.errors(limit=1000)) == len(bad)
    counts = [one for one in seen if "sum(" in one and "'failed', 'skipped'" in one]
    assert 0 < len(counts) < 10
    yard.close()
