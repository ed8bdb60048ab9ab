"""The one door for every change of a run's status lets through what the arrows allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from breakbulk.domain.status import FINISHED, RUN_ARROWS, RunStatus
from breakbulk.errors import RunNotFound
from tests.support.yard import together

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.yard import Yard


def put(yard: Yard, handle: RunHandle, status: RunStatus) -> None:
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(
            update(runs)
            .where(runs.c.id == handle.id)
            .values(status=str(status), reason="before", slot="slot", finished_at=None)
        )


def test_every_arrow_and_no_other(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    for source in RunStatus:
        for target in RunStatus:
            put(yard, handle, source)
            with yard.transaction() as connection:
                moved = yard.ledger.runs.move(
                    connection, handle.id, target, actor="test", reason="after"
                )
            record = handle.record()
            arrow = target in RUN_ARROWS[source]
            assert moved is arrow, f"{source} -> {target}"
            assert record.status is (target if arrow else source)
            assert record.reason == ("after" if arrow else "before")
            # What is pruned had ended before, and stays as old as it was.
            ended = arrow and target in FINISHED - {RunStatus.PRUNING}
            assert (record.finished_at is not None) is ended
            slot = yard.rows_of("runs")[0]["slot"]
            assert slot == (None if ended else "slot"), "an ended run makes room for the next"


def test_come_from_narrows_and_never_widens(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    with yard.transaction() as connection:
        runs = yard.ledger.runs
        assert not runs.move(
            connection, handle.id, RunStatus.PAUSED, come_from=[RunStatus.RUNNING], actor="test"
        )
        assert not runs.move(
            connection, handle.id, RunStatus.HELD, come_from=[RunStatus.PAUSED], actor="test"
        )
        assert runs.move(
            connection,
            handle.id,
            RunStatus.HELD,
            come_from=[RunStatus.RUNNING, RunStatus.PAUSED],
            actor="test",
        )


def test_what_was_done_is_noted_and_what_was_not_is_not(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    with yard.transaction() as connection:
        yard.ledger.runs.move(
            connection, handle.id, RunStatus.HELD, actor="somebody", reason="a reason"
        )
        yard.ledger.runs.move(connection, handle.id, RunStatus.PAUSED, actor="nobody")
    newest = handle.activity()[0]
    assert (newest.actor, newest.verb, newest.detail) == ("somebody", "held", "a reason")
    assert len(handle.activity()) == 2


def test_of_many_at_once_one_moves_it(yard: Yard) -> None:
    handle = yard.submit(yard.job())

    def hold() -> bool:
        with yard.transaction() as connection:
            return yard.ledger.runs.move(connection, handle.id, RunStatus.HELD, actor="test")

    assert sorted(together(*[hold] * 4)) == [False, False, False, True]


def test_only_the_one_who_calls_back_ends_the_run(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    put(yard, handle, RunStatus.FINISHING)
    from uuid import uuid4

    right, wrong, lane = uuid4(), uuid4(), uuid4()
    runs, finishers = yard.ledger.runs, yard.ledger.finishers
    with yard.transaction() as connection:
        assert finishers.claim(connection, handle.id, right, lane) == 1
        assert finishers.claim(connection, handle.id, wrong, lane) is None
        assert not finishers.free(connection, handle.id, wrong, wait=0)
        for token in (wrong, None):
            assert not runs.move(
                connection, handle.id, RunStatus.SUCCEEDED, actor="lane", finisher=token
            )
    assert handle.status() is RunStatus.FINISHING
    with yard.transaction() as connection:
        assert finishers.free(connection, handle.id, right, wait=0)
        assert finishers.claim(connection, handle.id, wrong, lane) == 2
        assert not runs.move(
            connection, handle.id, RunStatus.SUCCEEDED, actor="lane", finisher=right
        )
        assert runs.move(connection, handle.id, RunStatus.SUCCEEDED, actor="lane", finisher=wrong)


def test_a_callback_waits_for_its_time(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    put(yard, handle, RunStatus.FINISHING)
    from uuid import uuid4

    token, finishers = uuid4(), yard.ledger.finishers
    with yard.transaction() as connection:
        finishers.claim(connection, handle.id, token, token)
        finishers.free(connection, handle.id, token, wait=60)
        assert finishers.claim(connection, handle.id, token, token) is None
        assert yard.ledger.lanes.demand(connection, {}) == []


def test_a_run_that_is_not_there(yard: Yard) -> None:
    with pytest.raises(RunNotFound, match="There is no run 4711; 'breakbulk runs' lists them"):
        yard.bulk.run(4711)


def test_runs_are_paged_by_their_key(yard: Yard) -> None:
    job = yard.job()
    ids = [yard.submit(job, overlap="allow").id for _ in range(5)]
    first = yard.bulk.runs(limit=2)
    second = yard.bulk.runs(limit=2, before=first[-1].id)
    third = yard.bulk.runs(limit=2, before=second[-1].id)
    assert [run.id for run in first + second + third] == ids[::-1]
    assert yard.bulk.runs(statuses=[RunStatus.PAUSED]) == []
    assert len(yard.bulk.runs(job="Job0", statuses=[RunStatus.RUNNING])) == 5
