"""Who submits again with the idempotency key goes on where an iterable ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from breakbulk import Items, RunStatus
from breakbulk.errors import (
    OverlapError,
    SourceError,
    StateError,
)
from tests.support.posting import Post
from tests.support.producing import Dead, dies, heard_from_after_all, silent, up_to
from tests.support.yard import Boom, Yard, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from breakbulk import Chunk


def test_who_submits_again_goes_on_there(
    yard: Yard, seen: list[Any], note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[BaseException | None] = [Dead(), None]
    given: list[int] = []

    def produce() -> Iterator[int]:
        for number in up_to(12, ends[0]) if ends[0] else up_to(33):
            given.append(number)
            yield number

    job = yard.job(note, source=lambda: Items(produce()))
    first = dies(yard, job, monkeypatch, idempotency_key="k")
    crew = yard.first_crew
    crew.work()
    assert seen == list(range(12))
    # Somebody may be at it still.
    assert yard.submit(job, idempotency_key="k").created is False
    assert given == list(range(12))
    silent(yard)
    crew.tick()
    assert first.status() is RunStatus.FAILED
    del ends[0]
    second = yard.submit(job, idempotency_key="k")
    assert (second.id, second.created) == (first.id, False)
    assert second.status() is RunStatus.RUNNING
    yard.settle(second)
    record = second.record()
    assert (record.status, record.round) == (RunStatus.SUCCEEDED, 2)
    assert seen == list(range(33))
    assert yard.notices() == ["succeeded 33"]
    assert second.audit().clean
    assert second.audit().notes == ()
    # It is over: the iterable is not even begun.
    given.clear()
    assert yard.submit(job, idempotency_key="k").status() is RunStatus.SUCCEEDED
    assert given == []


def test_who_submits_again_before_anybody_noticed_goes_on_as_well(
    yard: Yard, seen: list[Any], note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [up_to(12, Dead()), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    first = dies(yard, job, monkeypatch, idempotency_key="k")
    silent(yard)
    yard.submit(job, idempotency_key="k")
    yard.settle(first)
    assert (first.record().status, first.record().round) == (RunStatus.SUCCEEDED, 1)
    assert seen == list(range(20))


@pytest.mark.parametrize(
    "others",
    [[0, 1, 2, 3, 4, 5, 6, 7, 8, -9, 10], [0, 1, 2], [], ["0"] * 20],
    ids=["another value", "fewer", "none", "other values"],
)
def test_other_items_are_refused_and_nothing_is_changed(
    yard: Yard, note: Any, others: list[Any]
) -> None:
    sources: list[Iterable[Any]] = [up_to(10, Boom()), others, range(11)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(
        SourceError, match="To go on there, submit its job again with the idempotency key"
    ):
        yard.submit(job, idempotency_key="k")
    with pytest.raises(SourceError, match="The first 10 items are not those that run"):
        yard.submit(job, idempotency_key="k")
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    assert handle.status() is RunStatus.FAILED
    yard.settle(yard.submit(job, idempotency_key="k"))
    assert handle.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["succeeded 11"]


def test_chunks_that_were_stopped_with_it_are_done_when_it_goes_on(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    """A chunk in hand when the iterable ended is cancelled with the run, and opened again."""
    sources = [up_to(10, Boom()), up_to(15)]
    yard.first_crew.tick()

    def process(chunk: Chunk[Any]) -> None:
        if chunk.attempt == 1:
            raise Boom("not yet")
        note(chunk)

    job = yard.job(
        process, source=lambda: Items(sources.pop(0)), chunk_size=4, max_retries=3, retry_delay=3600
    )

    def produce() -> Iterator[int]:
        yield from range(10)
        yard.first_crew.work()
        raise Boom

    sources[0] = produce()
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    assert {row["status"] for row in yard.rows_of("chunks")} == {"cancelled"}
    with pytest.raises(StateError, match=r"submit its job again with the idempotency key 'k'\."):
        handle.retry()
    yard.submit(job, idempotency_key="k")
    with yard.transaction() as connection:
        connection.execute(
            update(yard.ledger.database.schema.runs).values(
                policy=yard.rows_of("runs")[0]["policy"].replace("3600", "0")
            )
        )
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert sorted(seen) == list(range(15))


def test_only_one_of_two_who_submit_again_goes_on(yard: Yard, seen: list[Any], note: Any) -> None:
    sources = [up_to(12, Boom()), up_to(20), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    handles = together(*[lambda: yard.submit(job, idempotency_key="k")] * 2)
    assert len({handle.id for handle in handles}) == 1, handles
    yard.settle(handles[0])
    assert seen == list(range(20))
    assert yard.notices() == ["succeeded 20"]


def test_another_run_of_the_job_stands_in_the_way_of_going_on(yard: Yard, note: Any) -> None:
    sources = [up_to(5, Boom()), up_to(3), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    yard.submit(job)
    with pytest.raises(OverlapError, match="Another run of"):
        yard.submit(job, idempotency_key="k")


def test_what_its_policy_has_stopped_goes_on_with_what_failed(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    crew, broken = yard.first_crew, [True]

    def process(chunk: Chunk[Any]) -> None:
        if broken:
            raise Boom
        note(chunk)

    def produce() -> Iterator[int]:
        for number in range(30):
            if broken and number == 11:
                crew.work()
                crew.tick()
            yield number

    job = yard.job(process, source=lambda: Items(produce()), max_retries=0, on_failure="stop")
    first = yard.submit(job, idempotency_key="k")
    yard.settle(first)
    assert first.status() is RunStatus.FAILED
    broken.clear()
    yard.settle(yard.submit(job, idempotency_key="k"))
    assert first.status() is RunStatus.SUCCEEDED
    assert sorted(seen) == list(range(30))
    assert first.audit().clean


def test_nobody_goes_on_for_one_that_is_heard_from_after_all(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [up_to(12, Dead()), up_to(20), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    first = dies(yard, job, monkeypatch, idempotency_key="k")
    silent(yard)
    (before,) = yard.rows_of("loads")
    with monkeypatch.context() as patch:
        heard_from_after_all(yard, patch, "breakbulk.runner.load")
        assert yard.submit(job, idempotency_key="k").id == first.id
    assert first.status() is RunStatus.LOADING
    (after,) = yard.rows_of("loads")
    assert (after["producer"], after["loaded"]) == (before["producer"], 12)
    silent(yard)
    yard.settle(yard.submit(job, idempotency_key="k"))
    assert yard.notices() == ["succeeded 20"]


def test_its_links_are_those_of_the_first_submit(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the round that failed and one for the round that did not; none twice."""
    sources = [up_to(12, Boom()), up_to(20), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    sends = Post(yard)

    def links(word: str) -> dict[str, Any]:
        return {
            "link": yard.celery.signature(f"{word}.good"),
            "link_error": yard.celery.signature(f"{word}.bad"),
        }

    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k", **links("first"))
    first = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.settle(first)
    sends.clear()
    assert [(task, run) for task, run, _ in sends.sent] == [("first.bad", first.id)]
    for _ in range(2):
        yard.settle(yard.submit(job, idempotency_key="k", **links("second")))
    sends.clear()
    assert [task for task, _, _ in sends.sent] == ["first.bad", "first.good"]
    assert len({task_id for _, _, task_id in sends.sent}) == 2
    assert len(yard.rows_of("links")) == 2
