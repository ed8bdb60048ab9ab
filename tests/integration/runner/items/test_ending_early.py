"""A run whose iterable ends early fails with the reason, and never succeeds with half."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from breakbulk import Items, RunStatus
from breakbulk.errors import (
    LostClaim,
    SourceError,
)
from breakbulk.runner import earlyend
from tests.support.producing import Dead, dies, heard_from_after_all, silent, up_to
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Yard

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_an_error_of_the_iterable_fails_the_run_with_its_reason(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    crew = yard.first_crew
    told: list[str] = []

    def produce() -> Iterator[int]:
        yield from range(5)
        crew.work_until(lambda: seen == list(range(5)))
        yield from range(5, 12)
        raise Boom("the feed is gone")

    job = yard.job(
        note, source=lambda: Items(produce()), failed=lambda run: told.append(run.reason or "")
    )
    with pytest.raises(SourceError) as caught:
        yard.submit(job)
    assert isinstance(caught.value.__cause__, Boom)
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.settle(handle)
    record = handle.record()
    reason = f"source ended early at item 12: {Boom.__module__}.Boom: the feed is gone"
    assert (record.status, record.reason) == (RunStatus.FAILED, reason)
    assert told == [reason]
    assert handle.progress().rows_total is None, "nobody will ever know"
    assert repr(handle) == f"<Run {handle.id} of {job.__breakbulk_job__.name}>"
    assert str(caught.value) == (
        f"The source of run {handle.id} ended early at item 12, so the run has failed:"
        f" {Boom.__module__}.Boom: the feed is gone. To go on there, submit its job with an"
        " idempotency key from the beginning next time."
    )
    # What came before it is stored, and nothing of it is lost or done by half.
    assert yard.count("items") == 12
    assert seen == list(range(5))
    assert yard.notices() == []
    assert handle.audit().clean


def test_what_cannot_be_said_at_once_is_said_later(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lives, so on SQLite no steward would take the producer for gone."""
    right, tries = earlyend.end_early, [0]

    def full(*arguments: Any) -> bool:
        tries[0] += 1
        if tries[0] <= 2:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        return right(*arguments)

    monkeypatch.setattr("breakbulk.runner.load.end_early", full)
    monkeypatch.setattr("breakbulk.runner.load._SAY_AGAIN", 0.05)
    with pytest.raises(SourceError):
        yard.submit(yard.job(note, source=lambda: Items(up_to(12, Boom("the feed is gone")))))
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    assert handle.status() is RunStatus.LOADING
    wait_for(lambda: handle.status() is not RunStatus.LOADING, message="it to be said at last")
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    assert tries == [3]


def test_a_run_never_succeeds_with_half(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that there is was done when the producer is found dead."""
    job = yard.job(note, source=lambda: Items(up_to(10, Dead())))
    handle = dies(yard, job, monkeypatch)
    crew = yard.first_crew
    crew.work()
    crew.tick()
    assert handle.status() is RunStatus.LOADING
    assert handle.progress().rows_done == 10
    silent(yard)
    crew.tick()
    crew.work()
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert (record.reason or "").startswith("source ended early at item 10: process 0 on ")
    assert yard.notices() == []


def test_a_producer_that_was_given_up_may_not_go_on(yard: Yard, note: Any) -> None:
    """It was frozen for longer than its lease, and the run was stopped meanwhile."""
    crew = yard.first_crew

    def produce() -> Iterator[int]:
        yield from range(5)
        silent(yard)
        crew.tick()
        yield from range(5, 25)

    handle = None
    with pytest.raises(LostClaim, match="was stopped at item 5"):
        yard.submit(yard.job(note, source=lambda: Items(produce())))
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    assert handle.status() is RunStatus.FAILED
    assert yard.count("items") == 5


def test_one_that_is_heard_from_after_all_is_not_given_up(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dies(yard, yard.job(note, source=lambda: Items(up_to(12, Dead()))), monkeypatch)
    crew = yard.first_crew
    silent(yard)
    with monkeypatch.context() as patch:
        heard_from_after_all(yard, patch, "breakbulk.runner.earlyend")
        crew.tick()
    assert run.status() is RunStatus.LOADING
    assert yard.rows_of("loads")[0]["producer"] is not None
    silent(yard)
    crew.tick()
    assert run.status() is RunStatus.FAILED


def test_a_slow_iterable_keeps_its_lease(clean_engine: Any, seen: list[Any], note: Any) -> None:
    yard = Yard(clean_engine, shared=True, lease_seconds=2.0)
    crew = yard.first_crew

    def lease() -> Any:
        return yard.rows_of("loads")[0]["lease_until"]

    def produce() -> Iterator[int]:
        yield 1
        before = lease()
        wait_for(lambda: lease() > before, message="the lease to be extended")
        crew.tick()
        yield 2

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
    yard.settle(handle)
    assert seen == [1, 2]
    yard.close()


def test_a_live_process_is_not_given_up_on_sqlite(
    sqlite_yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes may leave no room for its lease."""
    crew = sqlite_yard.first_crew
    job = sqlite_yard.job(note, source=lambda: Items(up_to(10, Dead())))
    handle = dies(sqlite_yard, job, monkeypatch)
    pid = sqlite_yard.rows_of("loads")[0]["pid"]
    silent(sqlite_yard)
    with sqlite_yard.transaction() as connection:
        connection.execute(update(sqlite_yard.ledger.database.schema.loads).values(pid=pid))
    crew.tick()
    assert handle.status() is RunStatus.LOADING
    silent(sqlite_yard)
    crew.tick()
    assert handle.status() is RunStatus.FAILED


def test_a_stalled_database_gives_up_nobody_on_postgresql(
    postgres_yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who judges must have been heard from himself for a whole lease."""
    yard = postgres_yard
    crew = yard.first_crew
    job = yard.job(note, source=lambda: Items(up_to(10, Dead())))
    handle = dies(yard, job, monkeypatch)
    workers = yard.ledger.database.schema.workers
    silent(yard)
    with yard.engine.begin() as connection:
        connection.execute(update(workers).values(healthy_since=datetime.now(UTC)))
    crew.tick()
    assert handle.status() is RunStatus.LOADING
    silent(yard)
    crew.tick()
    assert handle.status() is RunStatus.FAILED
