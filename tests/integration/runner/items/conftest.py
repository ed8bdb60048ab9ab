"""Small batches, and what was processed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five items in a batch, and no batch is stored for the time it has waited."""
    monkeypatch.setattr("breakbulk.runner.reading.BATCH_ITEMS", 5)
    monkeypatch.setattr("breakbulk.runner.reading.BATCH_SECONDS", 60.0)


@pytest.fixture
def seen() -> list[Any]:
    """What was processed, in the order in which it was."""
    return []


@pytest.fixture
def note(seen: list[Any]) -> Callable[[Chunk[Any]], None]:
    """A process that notes what it is given."""

    def process(chunk: Chunk[Any]) -> None:
        seen.extend(chunk)

    return process
