"""A run of which some rows have failed, and a job to be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk import Chunk, RunStatus
from tests.support.yard import Boom, Goods, touch

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.yard import Yard


def bad(chunk: Chunk[Goods]) -> None:
    """A process that fails for two rows."""
    for row in chunk:
        if row.id in {3, 13}:
            raise Boom(f"row {row.id}")
        row.version += 1


@pytest.fixture
def partial(yard: Yard) -> RunHandle:
    """A run with two rows in quarantine."""
    handle = yard.run(bad, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    return handle


@pytest.fixture
def job(yard: Yard) -> str:
    """The name of a job that can be started."""
    yard.job(touch, name="a.job")
    return "a.job"
