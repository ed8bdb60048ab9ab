"""How far a run is said to be, when its table does not stand still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, update

from breakbulk import RunStatus
from breakbulk.ledger.sql import clock
from tests.support.yard import Boom, Goods, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk, RunHandle
    from tests.support.yard import Yard


def between_carve_and_split(yard: Yard, change: Callable[[], None], bad: set[int]) -> RunHandle:
    """A run of one chunk that fails, is left alone for a moment, fails again and is split."""

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if bad & {row.id for row in chunk}:
            raise Boom

    handle = yard.submit(yard.job(process, chunk_size=100, max_retries=1, retry_delay=60))
    yard.first_crew.work()
    change()
    waiting = yard.ledger.database.schema.waiting
    bad &= {3}
    while handle.status() is RunStatus.RUNNING:
        with yard.transaction() as connection:
            connection.execute(update(waiting).values(not_before=clock()))
        yard.first_crew.work()
    return handle


@pytest.mark.parametrize("retried", [False, True])
def test_rows_that_come_before_a_split_count_in_the_end(yard: Yard, retried: bool) -> None:
    bad = {3}
    handle = between_carve_and_split(yard, lambda: yard.add_goods(range(-2, 1)), bad)
    assert handle.progress().status is RunStatus.PARTIAL
    if retried:
        bad.clear()
        handle.retry()
        yard.settle(handle)
    progress = handle.progress()
    assert (progress.rows_done, progress.rows_total) == (28 - len(bad), 28)
    assert progress.rows_done == sum(yard.versions().values())


def test_rows_that_went_before_a_split_leave_nothing_to_be_done(yard: Yard) -> None:
    def remove() -> None:
        with yard.engine.begin() as connection:
            connection.execute(delete(Goods).where(Goods.id > 20))

    handle = between_carve_and_split(yard, remove, {3, 25})
    progress = handle.progress()
    assert (progress.rows_done, progress.rows_total) == (19, 20)
    assert handle.record().status is RunStatus.PARTIAL
