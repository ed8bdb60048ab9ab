from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.chunk import (
    BEHIND_PARTS,
    LONGEST_PATH,
    Bounds,
    ChunkRef,
    RunId,
    failed_part,
    is_path,
    parse_chunk,
)
from breakbulk.errors import ParameterError

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


@pytest.mark.parametrize(
    ("path", "words"), [("", "7"), ("0", "7.0"), ("011", "7.011"), ("ab1", "7.ab1")]
)
def test_a_chunk_is_named_by_number_and_path(path: str, words: str) -> None:
    assert str(ChunkRef(RunId(1), 7, path)) == words
    assert parse_chunk(words) == (7, path)


@pytest.mark.parametrize("name", ["7.", "7.0a", "7.c", ".a", "a", "7.a.0"])
def test_what_no_split_gives_is_no_name(name: str) -> None:
    with pytest.raises(ParameterError, match="is not a chunk"):
        parse_chunk(name)


@given(st.text("ab", max_size=32), st.text("01", max_size=32))
def test_what_splits_give_is_a_path(shares: str, halves: str) -> None:
    path = shares + halves
    assert is_path(path)
    assert path < BEHIND_PARTS
    assert parse_chunk(str(ChunkRef(RunId(1), 7, path))) == (7, path)


@pytest.mark.parametrize(
    "path", ["0a", "c", "2", ".", "a.0", BEHIND_PARTS, "0" * (LONGEST_PATH + 1)]
)
def test_what_no_split_gives_is_no_path(path: str) -> None:
    assert not is_path(path)


@pytest.mark.parametrize(
    ("path", "part"), [(None, ""), ("", ""), ("ab", ""), ("01", "01"), ("ab01", "01")]
)
def test_what_failures_have_added_to_a_path(path: str | None, part: str) -> None:
    assert failed_part(path) == part


def test_two_chunks_never_share_a_name() -> None:
    """The advisory locks go by it."""
    names = [str(ChunkRef(RunId(1), n, p)) for n in (1, 10, 11) for p in ("", "0", "1", "00", "10")]
    assert len(set(names)) == len(names)
