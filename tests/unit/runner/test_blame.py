"""Which failures look like one cause outside the rows."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from breakbulk.domain.chunk import Bounds, ChunkRef, Claim, RunId
from breakbulk.domain.failed import FailedAttempt
from breakbulk.runner.blame import Suspicion, suspicion

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def failed(number: int, path: str, rows: int = 9) -> FailedAttempt:
    return FailedAttempt(_AT, number, path, rows, "Boom", "shop.py:7")


def claim(number: int, path: str, rows: int = 9) -> Claim:
    return Claim(ChunkRef(RunId(1), number, path), Bounds(None, (9,)), rows, 1, UUID(int=1))


def test_shares_are_chunks_like_any_other() -> None:
    recent = [failed(2, "b"), failed(2, "aa"), failed(1, "")]
    assert suspicion(recent, claim(2, "b"), chunks_in_a_row=4) is None
    found = suspicion(recent, claim(2, "b"), chunks_in_a_row=3)
    assert found == Suspicion(_AT, frozenset({1, 2}), proven=False, probed=False)


def test_the_way_down_begins_at_the_share() -> None:
    way = [failed(2, "b", 2), failed(2, "b1", 1), failed(2, "b0", 1)]
    recent = [*reversed(way), failed(2, "a")]
    found = suspicion(recent, claim(2, "b0", 1), chunks_in_a_row=9)
    assert found == Suspicion(_AT, frozenset({2}), proven=True, probed=True)
    # The other share's halves are not its own.
    other = [failed(2, "a1", 1), failed(2, "a", 2)]
    assert suspicion([way[2], *other, way[0]], claim(2, "b0", 1), chunks_in_a_row=9) is None


def test_a_share_of_one_row_is_no_way_down() -> None:
    recent = [failed(2, "b", 1), failed(2, "a", 1)]
    assert suspicion(recent, claim(2, "b", 1), chunks_in_a_row=9) is None
