"""Items by their position: keys, failures, and values that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import Items, RunStatus
from breakbulk.errors import (
    SourceError,
    StateError,
)
from tests.support.yard import Boom, Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk import Chunk


def test_the_key_of_an_item_is_its_position(yard: Yard) -> None:
    keys: dict[str, Any] = {}

    def process(chunk: Chunk[Any]) -> None:
        numbers: list[Any] = [key for (key,) in chunk.row_keys]
        assert len(numbers) == len(list(chunk))
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        for item in chunk:
            keys[chunk.key_for(item)] = item

    handle = yard.run(process, source=lambda: Items(n % 3 for n in range(25)))
    assert handle.status() is RunStatus.SUCCEEDED
    assert keys == {f"breakbulk-{handle.id}-[{n + 1}]": n % 3 for n in range(25)}


def test_an_item_that_fails_goes_to_quarantine_by_its_position(yard: Yard, seen: list[Any]) -> None:
    broken = {7, 13}

    def process(chunk: Chunk[Any]) -> None:
        items = list(chunk)
        if bad := broken & {item["n"] for item in items}:
            raise Boom(f"{bad}")
        seen.extend(item["n"] for item in items)

    job = yard.job(process, source=lambda: Items({"n": n} for n in range(25)), max_retries=0)
    handle = yard.submit(job)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert [row.key for row in handle.errors()] == ["[8]", "[14]"]
    assert handle.audit().clean
    broken.clear()
    assert handle.retry(key=(8,)).rows == 1
    yard.settle(handle)
    handle.retry()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert sorted(seen) == list(range(25))


def test_too_many_failures_stop_it_while_it_is_being_read(yard: Yard) -> None:
    crew, given = yard.first_crew, []

    def process(_chunk: Chunk[Any]) -> None:
        raise Boom

    def produce() -> Iterator[int]:
        for number in range(100):
            given.append(number)
            if number == 20:
                crew.work()
                crew.tick()
            yield number

    job = yard.job(
        process, source=lambda: Items(produce()), max_retries=0, on_failure="stop", chunk_size=3
    )
    handle = yard.submit(job)
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert "chunk 1 failed" in (record.reason or "")
    assert len(given) < 40
    with pytest.raises(StateError, match=r"was not read to its end.*submit its job anew"):
        handle.retry()
    assert yard.rows_of("loads")[0]["producer"] is None


def test_a_run_that_cannot_go_on_is_held_while_it_is_being_read(yard: Yard) -> None:
    crew = yard.first_crew
    statuses = []

    def process(_chunk: Chunk[Any]) -> None:
        raise RuntimeError("a broken deploy")

    def produce() -> Iterator[int]:
        yield from range(40)
        crew.work()
        statuses.append(yard.bulk.runs()[0].status)
        yield from range(5)

    job = yard.job(process, source=lambda: Items(produce()), max_retries=0, chunk_size=2)
    handle = yard.submit(job)
    assert statuses == [RunStatus.HELD]
    assert handle.status() is RunStatus.HELD
    assert handle.resume() is RunStatus.RUNNING


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "Item 3 is not a JSON value (Object of type datetime"),
        (float("nan"), "Item 3 is not a JSON value (Out of range float values"),
        ({1: "a"}, "Item 3 would come back from JSON as another value"),
        ((1, 2), "Item 3 would come back from JSON as another value"),
        ("\ud800", "Item 3 is not a JSON value ('utf-8' codec can't encode"),
        ("x" * 70_000, "Item 3 has 70002 bytes as JSON and may have 65536"),
    ],
    ids=["moment", "nan", "key", "tuple", "surrogate", "large"],
)
def test_a_value_that_cannot_be_an_item(yard: Yard, note: Any, bad: object, sentence: str) -> None:
    with pytest.raises(SourceError) as caught:
        yard.submit(yard.job(note, source=lambda: Items([1, 2, bad, 4])))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("The source of run ")
    record = yard.bulk.runs()[0]
    assert record.status is RunStatus.FAILED
    assert (record.reason or "").startswith(f"source ended early at item 2: {sentence}")
    assert yard.count("items") == 2
