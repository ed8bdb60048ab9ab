from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.chunk import Bounds, ChunkRef, RunId

key = st.tuples(st.integers(), st.text())


@given(st.none() | key, key)
def test_bounds_come_back_as_they_were(
    after: tuple[int, str] | None, upto: tuple[int, str]
) -> None:
    bounds = Bounds(after, upto)
    assert Bounds.decoded(*bounds.encoded()) == bounds


@pytest.mark.parametrize(
    ("bounds", "words"),
    [(Bounds(None, (5,)), "(start, [5]]"), (Bounds((-5,), (0,)), "([-5], [0]]")],
)
def test_bounds_read_as_an_interval(bounds: Bounds, words: str) -> None:
    assert str(bounds) == words


@pytest.mark.parametrize(("path", "words"), [("", "7"), ("0", "7.0"), ("011", "7.011")])
def test_a_chunk_is_named_by_number_and_path(path: str, words: str) -> None:
    assert str(ChunkRef(RunId(1), 7, path)) == words


def test_two_chunks_never_share_a_name() -> None:
    """The advisory locks go by it."""
    names = [str(ChunkRef(RunId(1), n, p)) for n in (1, 10, 11) for p in ("", "0", "1", "00", "10")]
    assert len(set(names)) == len(names)
