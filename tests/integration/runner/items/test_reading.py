"""An iterable is read once, in batches, and worked on while it is being read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import Session

from breakbulk import Items, RunStatus
from breakbulk.errors import (
    BreakbulkError,
    SourceError,
)
from tests.support.producing import up_to
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk import Progress


@pytest.mark.parametrize("count", [0, 1, 4, 5, 10, 25, 26])
def test_each_item_once_and_called_back_once(
    yard: Yard, seen: list[Any], note: Any, count: int
) -> None:
    handle = yard.run(note, source=lambda: Items({"n": n} for n in range(count)))
    assert handle.status() is RunStatus.SUCCEEDED
    assert [item["n"] for item in seen] == list(range(count))
    assert yard.notices() == [f"succeeded {count}"]
    audit = handle.audit()
    assert audit.clean, audit.findings
    assert audit.notes == ()
    progress = handle.progress()
    assert (progress.rows_done, progress.rows_total) == (count, count)
    assert progress.total_is_exact
    assert yard.count("items") == count


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        10**30,
        "",
        'ünï\u0000"\\\n✓\U0001f600',
        [],
        {},
        [1, [2, {"a": None}]],
        {"": {"b": [False]}},
    ],
    ids=repr,
)
def test_a_value_comes_as_it_was_given(
    yard: Yard, seen: list[Any], note: Any, value: object
) -> None:
    assert yard.run(note, source=lambda: Items([value])).status() is RunStatus.SUCCEEDED
    assert seen == [value]
    assert type(seen[0]) is type(value)


def test_it_is_worked_on_while_it_is_being_read(yard: Yard, seen: list[Any], note: Any) -> None:
    crew = yard.first_crew
    looked: list[Progress] = []

    def produce() -> Iterator[int]:
        yield from range(11)
        crew.work()
        looked.append(yard.bulk.run(yard.bulk.runs()[0].id).progress())
        assert yard.notices() == []
        assert seen == list(range(10))
        yield from range(11, 20)

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
    (meanwhile,) = looked
    assert meanwhile.status is RunStatus.LOADING
    assert meanwhile.rows_total is None
    assert meanwhile.fraction is None
    assert not meanwhile.total_is_exact
    assert handle.status() is RunStatus.RUNNING
    yard.settle(handle)
    assert seen == list(range(20))
    assert yard.notices() == ["succeeded 20"]
    assert handle.audit().clean


def test_a_lane_that_finds_nothing_new_leaves_its_slot(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakbulk.runner.hand._LOADING_PATIENCE", 0.1)
    crew, wanted = yard.first_crew, []

    def demand() -> list[int]:
        with yard.reading() as connection:
            return [one.wanted for one in yard.ledger.lanes.demand(connection, {})]

    def produce() -> Iterator[int]:
        wanted.append(demand())
        yield from range(5)
        wanted.append(demand())
        crew.work()
        wanted.append(demand())
        yield from range(5)
        wanted.append(demand())

    yard.submit(yard.job(note, source=lambda: Items(produce())))
    assert wanted == [[], [1], [], [1]]
    assert yard.count("lanes") == 0


def test_a_lane_that_came_while_it_was_loading_does_the_last_items_too(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    """It knows from the ledger, and not from the run as it was, that the end has come."""
    crew, over = yard.first_crew, threading.Event()

    def work() -> None:
        while not over.is_set():
            crew.work()

    lane = threading.Thread(target=work)

    def produce() -> Iterator[int]:
        yield from range(5)
        lane.start()
        wait_for(lambda: seen == list(range(5)), message="the first items")
        yield from range(5, 23)

    try:
        handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
        wait_for(lambda: handle.status() is RunStatus.SUCCEEDED, message="the end")
    finally:
        # Or it would work on what the next tests submit.
        over.set()
        if lane.ident is not None:
            lane.join()
    assert seen == list(range(23))
    assert yard.notices() == ["succeeded 23"]


def test_the_iterable_is_read_once_and_by_nobody_else(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    asked: list[int] = []

    def source() -> Items[int]:
        asked.append(1)
        return Items(up_to(25))

    job = yard.job(note, source=source)
    plan = yard.bulk.plan(job())
    assert (plan.rows_estimate, plan.last_key, plan.sample) == (None, None, ())
    assert plan.key_names == ("item",)
    assert asked == [1]
    handle = yard.submit(job)
    yard.settle(handle)
    handle.audit()
    assert handle.chunk_sql(1) is not None
    assert asked == [1, 1]
    assert seen == list(range(25))


def test_batches_are_bounded_in_bytes_too(yard: Yard, note: Any) -> None:
    yard.submit(yard.job(note, source=lambda: Items(["x" * 60_000] * 4)))
    assert yard.count("items") == 4


@pytest.mark.parametrize("given", ["text", b"bytes", {"a": 1}, 5, None])
def test_what_is_hardly_meant_is_refused(yard: Yard, note: Any, given: Any) -> None:
    with pytest.raises(SourceError, match="Items takes an iterable of JSON values"):
        yard.submit(yard.job(note, source=lambda: Items(given)))
    assert yard.count("runs") == 0


def test_in_eager_mode_it_is_read_and_then_worked_on(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    yard.celery.conf.task_always_eager = True
    handle = yard.submit(yard.job(note, source=lambda: Items(range(12))))
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == list(range(12))


def test_a_signature_submits_it(yard: Yard, seen: list[Any], note: Any) -> None:
    job = yard.job(note, source=lambda: Items(range(12)))
    signature = yard.bulk.signature(job())
    run_id = yard.celery.tasks["breakbulk.submit"].run(*signature.args, **signature.kwargs)
    yard.settle(yard.bulk.run(run_id))
    assert seen == list(range(12))


def test_every_error_is_one_of_ours(yard: Yard, note: Any) -> None:
    with pytest.raises(BreakbulkError):
        yard.submit(yard.job(note, source=lambda: Items(up_to(1, Boom()))))


def test_whoever_submits_is_told_how_far_it_is(yard: Yard, note: Any) -> None:
    told: list[tuple[int, int]] = []
    job = yard.job(note, source=lambda: Items(range(12)))
    run = yard.submit(job, loading=lambda run, items: told.append((run, items)))
    assert told == [(run.id, 5), (run.id, 10), (run.id, 12)]
    with Session(yard.engine) as session:
        again = yard.submit(
            job, session=session, overlap="allow", loading=lambda *at: told.append(at)
        )
        session.rollback()
    assert told[3:] == [(again.id, 5), (again.id, 10), (again.id, 12)]
    yard.settle(run)
