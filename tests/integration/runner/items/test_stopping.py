"""Cancelled, paused or waiting while the iterable is being read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import CancelRun, Items, RunStatus
from breakbulk.errors import (
    OverlapError,
    SourceError,
)
from tests.support.yard import Boom, Yard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from breakbulk import Chunk, RunHandle


def test_a_cancel_ends_the_reading(yard: Yard, note: Any) -> None:
    given: list[int] = []
    closed: list[bool] = []

    def produce() -> Iterator[int]:
        try:
            for number in range(1000):
                given.append(number)
                if number == 7:
                    yard.bulk.run(yard.bulk.runs()[0].id).cancel()
                yield number
        finally:
            closed.append(True)

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())), idempotency_key="k")
    assert handle.status() is RunStatus.CANCELLED
    assert len(given) == 10
    assert closed == [True]
    # Who cancels it means it.
    job = yard.bulk.jobs.get(handle.record().job).cls
    assert yard.submit(job, idempotency_key="k").status() is RunStatus.CANCELLED


def test_a_job_may_cancel_its_run_while_it_is_being_read(yard: Yard) -> None:
    crew = yard.first_crew

    def process(_chunk: Chunk[Any]) -> None:
        raise CancelRun("seen enough")

    def produce() -> Iterator[int]:
        for number in range(1000):
            if number == 6:
                crew.work()
            yield number

    handle = yard.submit(yard.job(process, source=lambda: Items(produce())))
    yard.settle(handle)
    assert (handle.record().status, handle.record().reason) == (
        RunStatus.CANCELLED,
        "seen enough",
    )


def test_it_is_read_on_while_it_is_paused(yard: Yard, seen: list[Any], note: Any) -> None:
    crew, statuses = yard.first_crew, []

    def handle() -> RunHandle:
        return yard.bulk.run(yard.bulk.runs()[0].id)

    def produce() -> Iterator[int]:
        yield from range(5)
        statuses.append(handle().pause())
        yield from range(5, 12)
        crew.work()
        statuses.append(handle().resume())
        statuses.append(handle().resume())
        yield from range(12, 17)
        statuses.append(handle().pause())

    submitted = yard.submit(yard.job(note, source=lambda: Items(produce())))
    assert statuses == [RunStatus.PAUSED, RunStatus.LOADING, RunStatus.LOADING, RunStatus.PAUSED]
    assert seen == []
    assert submitted.status() is RunStatus.PAUSED
    assert submitted.resume() is RunStatus.RUNNING
    yard.settle(submitted)
    assert seen == list(range(17))
    assert yard.notices() == ["succeeded 17"]


def test_what_ended_early_in_a_pause_fails_when_it_is_resumed(yard: Yard, note: Any) -> None:
    def produce() -> Iterator[int]:
        yield from range(5)
        yard.bulk.run(yard.bulk.runs()[0].id).pause()
        raise Boom("gone")

    with pytest.raises(SourceError):
        yard.submit(yard.job(note, source=lambda: Items(produce())))
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.first_crew.tick()
    assert handle.status() is RunStatus.PAUSED
    assert handle.resume() is RunStatus.LOADING
    yard.first_crew.tick()
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason == f"source ended early at item 5: {Boom.__module__}.Boom: gone"


def test_one_that_stands_behind_another_is_read_meanwhile(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    job = yard.job(note, source=lambda: Items(range(7)))
    first = yard.submit(job)
    second = yard.submit(job, overlap="wait")
    assert second.status() is RunStatus.HELD
    assert yard.count("items") == 14
    yard.settle(first)
    yard.first_crew.tick()
    assert second.status() is RunStatus.RUNNING
    yard.settle(second)
    assert seen == [*range(7), *range(7)]


def test_one_that_stood_behind_another_is_loading_when_its_turn_comes(
    yard: Yard, note: Any
) -> None:
    statuses: list[RunStatus] = []
    crew = yard.first_crew

    def produce() -> Iterator[int]:
        yield from range(5)
        yard.settle(first)
        crew.tick()
        statuses.append(yard.bulk.runs()[0].status)
        yield 5

    sources: list[Iterable[int]] = [range(3), produce()]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    first = yard.submit(job)
    second = yard.submit(job, overlap="wait")
    assert statuses == [RunStatus.LOADING]
    assert second.status() is RunStatus.RUNNING


def test_a_second_submit_is_refused_while_it_is_being_read(yard: Yard, note: Any) -> None:
    refused: list[str] = []

    def produce() -> Iterator[int]:
        yield 1
        with pytest.raises(OverlapError, match="is still loading") as caught:
            yard.submit(job)
        refused.append(str(caught.value))

    sources = [Items(produce()), Items(range(3))]
    job = yard.job(note, source=lambda: sources.pop(0))
    yard.submit(job)
    assert len(refused) == 1
