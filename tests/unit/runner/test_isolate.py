"""A chunk's halves take its place: no gap and no overlap, whatever has gone meanwhile."""

from __future__ import annotations

import pytest

from breakbulk.domain.chunk import Bounds
from breakbulk.runner.isolate import halves


@pytest.mark.parametrize("after", [None, (-7,), (2,)])
@pytest.mark.parametrize("count", [2, 3, 4, 7, 500])
def test_halves_are_adjacent_and_end_where_the_chunk_does(
    after: tuple[int] | None, count: int
) -> None:
    """Its last row may have been deleted since it was carved; the chunk after it begins there."""
    keys = [(3 * number,) for number in range(1, count + 1)]
    low, high = halves(Bounds(after, (4711,)), [*keys])
    assert (low.bounds.after, high.bounds.upto) == (after, (4711,))
    assert low.bounds.upto == high.bounds.after == keys[low.rows - 1]
    assert low.rows + high.rows == count
    assert 0 <= low.rows - high.rows <= 1
