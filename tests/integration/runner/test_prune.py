"""Pruning takes whole runs that have ended, and only those, whatever comes between."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, update

from breakbulk import Items, RunStatus
from breakbulk.domain.status import FINISHED
from breakbulk.errors import ParameterError, RunNotFound, StateError
from breakbulk.ledger import pruning as steps
from breakbulk.ledger.sql import clock
from tests.support.yard import Goods, Yard, failing

if TYPE_CHECKING:
    from breakbulk import Chunk, RunHandle

_NOW = timedelta(0)


def _tables(yard: Yard) -> dict[str, int]:
    """How many rows each table has that holds something of runs."""
    tables = yard.ledger.database.schema.metadata.sorted_tables
    names = [table.name.removeprefix("breakbulk_") for table in tables]
    apart = {"workers", "leader", "endpoints", "tokens"}
    return {name: len(yard.rows_of(name, "1 = 1")) for name in names if name not in apart}


def _age(yard: Yard, handle: RunHandle, days: int) -> None:
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(
            update(runs).where(runs.c.id == handle.id).values(finished_at=clock(-86_400.0 * days))
        )


def _endings(yard: Yard) -> list[RunHandle]:
    """A run that succeeded, one with rows in quarantine, one of items."""

    def process(chunk: Chunk[Goods]) -> None:
        if 12 in [row.id for row in chunk]:
            raise ValueError(12)

    job = yard.job(lambda _chunk: None, source=lambda: Items(range(25)))
    items = yard.submit(job)
    yard.settle(items)
    return [yard.run(), yard.run(process, max_retries=0), items]


def test_nothing_of_a_pruned_run_is_left(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """With windows smaller than what there is in each table."""
    monkeypatch.setattr(steps, "BATCH", 2)
    handles = _endings(yard)
    before = _tables(yard)
    assert {"chunks", "failures", "quarantine", "items", "activity", "stays"} <= {
        name for name, rows in before.items() if rows
    }
    told = yard.bulk.prune(_NOW)
    assert [one.run for one in told] == sorted(handle.id for handle in handles)
    assert {one.kept for one in told} == {None}
    assert sorted(one.chunks for one in told) == [3, 3, 7], "one was split down to a row"
    assert not {name: rows for name, rows in _tables(yard).items() if rows}
    assert yard.bulk.runs() == []
    assert yard.versions()[1] == 1, "what it did stays done"
    with pytest.raises(RunNotFound):
        handles[0].record()


def test_every_table_that_has_something_of_runs_is_pruned(yard: Yard) -> None:
    """Whoever adds one adds it there, too; there is no lane any more."""
    schema = yard.ledger.database.schema
    of_runs = {
        table.name.removeprefix("breakbulk_")
        for table in schema.metadata.sorted_tables
        if "run_id" in table.c
    }
    assert of_runs == {*steps.NUMBERED, *steps.LISTED, *steps.FEW, "lanes"}


def test_only_what_is_old_enough_and_meant(yard: Yard) -> None:
    old, failed, young = _endings(yard)
    going = yard.submit(yard.job())
    _age(yard, old, 31)
    _age(yard, failed, 31)
    month = timedelta(days=30)
    succeeded = [RunStatus.SUCCEEDED]
    assert [one.run for one in yard.bulk.prune(month, dry_run=True)] == [old.id, failed.id]
    assert [one.run for one in yard.bulk.prune(month, statuses=succeeded, dry_run=True)] == [old.id]
    assert [one.run for one in yard.bulk.prune(month, job=failed.job)] == [failed.id]
    yard.bulk.prune(month)
    assert {run.id for run in yard.bulk.runs()} == {young.id, going.id}
    assert young.audit().clean
    with pytest.raises(StateError, match=r"is running: only what has ended can be pruned\.$"):
        going.prune()
    yard.settle(going)
    assert going.status() is RunStatus.SUCCEEDED


def test_what_cannot_have_ended_is_refused(yard: Yard) -> None:
    with pytest.raises(ParameterError, match="give a time from 0 s"):
        yard.bulk.prune(timedelta(seconds=-1))
    with pytest.raises(ParameterError, match=r"those running have not\.$"):
        yard.bulk.prune(_NOW, statuses=[RunStatus.RUNNING, *FINISHED])


def test_whoever_is_interrupted_leaves_a_run_that_the_next_goes_on_with(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "BATCH", 1)
    handle = yard.run(failing(9), max_retries=0)
    whole = steps.Pruning.steps

    def broken(self: Any, *arguments: Any) -> Any:
        for count, _ in enumerate(whole(self, *arguments)):
            yield
            if count == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps.Pruning, "steps", broken)
        with pytest.raises(KeyboardInterrupt):
            handle.prune()
    assert handle.status() is RunStatus.PRUNING
    with pytest.raises(StateError, match="is being pruned: nothing of it can be retried"):
        handle.retry()
    with pytest.raises(StateError, match="is being pruned: there is nothing left to be proven"):
        handle.audit()
    # However young it is: it was told to go.
    assert [one.run for one in yard.bulk.prune(timedelta(days=30))] == [handle.id]
    assert not any(_tables(yard).values())


def test_a_pruned_run_gives_its_idempotency_key_back(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the moment on that it is marked: a submit is not led to a ruin."""
    job = yard.job()
    first = yard.submit(job, idempotency_key="night")
    yard.settle(first)
    monkeypatch.setattr("breakbulk.runner.prune._clear", lambda *_: None)
    first.prune()
    second = yard.submit(job, idempotency_key="night")
    assert second.created
    assert second.id != first.id
    yard.settle(second)


def test_a_retry_and_a_pruning_at_once(yard: Yard) -> None:
    """Whoever has the carve row first has the run; the other one is told."""
    handle = yard.run(failing(9), max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    handle.retry()
    with pytest.raises(StateError, match="only what has ended can be pruned"):
        handle.prune()
    yard.settle(handle)
    assert handle.prune().kept is None
    with pytest.raises(RunNotFound):
        handle.retry()


def test_what_is_needed_is_kept(yard: Yard) -> None:
    job = yard.job()
    first = yard.submit(job)
    second = yard.submit(job, overlap="wait")
    lane = yard.lane(first)
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        ended = {"status": "succeeded", "finished_at": clock(), "slot": None}
        connection.execute(update(runs).where(runs.c.id == first.id).values(ended))
    assert first.prune().kept == "its last lane has not left yet"
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    (left,) = yard.bulk.prune(_NOW)
    assert left.kept == f"run {second.id} stands behind it"
    assert first.status() is RunStatus.SUCCEEDED


def test_nobody_misses_the_news(yard: Yard) -> None:
    """An event's delivery that has not ended yet, and then has."""
    handle = yard.run()
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        event = {"type": "run.succeeded", "at": clock(), "message_id": "m", "payload": "{}"}
        event_id = connection.execute(
            insert(schema.events).values(run_id=handle.id, **event).returning(schema.events.c.id)
        ).scalar_one()
        delivery = {"status": "waiting", "not_before": clock(), "created_at": clock()}
        delivery_id = connection.execute(
            insert(schema.deliveries)
            .values(run_id=handle.id, event_id=event_id, **delivery)
            .returning(schema.deliveries.c.id)
        ).scalar_one()
        connection.execute(
            insert(schema.tries).values(delivery_id=delivery_id, at=clock(), milliseconds=3)
        )
    assert handle.prune().kept == "somebody is still to be told of its end"
    with yard.transaction() as connection:
        connection.execute(update(schema.deliveries).values(ended_at=clock(), status="delivered"))
    assert handle.prune().kept is None
    assert not any(_tables(yard).values())
