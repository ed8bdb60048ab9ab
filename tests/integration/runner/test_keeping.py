"""Jobs that keep results: what is kept, and what becomes of what their code says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from breakbulk import Items, RunStatus
from breakbulk.domain.verdict import Again, Hopeless, Kept, LeftOut
from tests.support.yard import Boom, Yard

if TYPE_CHECKING:
    from breakbulk.runner.keeping import ItemChunk


def test_each_item_keeps_its_result(yard: Yard) -> None:
    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        return Kept(json.dumps(item * 2) if item % 3 else None)

    handle = yard.submit(yard.job(process, source=lambda: Items(range(10)), keeps=True))
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    with yard.reading() as connection:
        found = yard.ledger.results.page(connection, handle.id, 1, 100)
    assert found == {n + 1: json.dumps(n * 2) for n in range(10) if n % 3}


def test_again_and_hopeless_and_left_out(yard: Yard) -> None:
    states: list[Any] = []

    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        if item == 1 and chunk.attempt < 8:
            states.append(chunk.kept_state)
            raise Again(0, Boom("again"), state=json.dumps(chunk.attempt))
        if item == 2:
            raise Hopeless(Boom("no"))
        if item == 3:
            raise LeftOut("not wanted")
        return Kept(json.dumps(chunk.attempt))

    handle = yard.submit(
        yard.job(process, source=lambda: Items(range(5)), max_retries=2, keeps=True)
    )
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert states == [None, "1", "2", "3", "4", "5", "6"]
    with yard.reading() as connection:
        found = yard.ledger.results.page(connection, handle.id, 1, 100)
    assert found == {1: "1", 2: "8", 5: "1"}
