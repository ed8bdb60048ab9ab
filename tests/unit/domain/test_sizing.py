"""What the next chunk's size is, and what it never is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.sizing import (
    CALM,
    CUT,
    FIRST_ROWS,
    GROWTH,
    LEAST_ROWS,
    Cause,
    ChunkSize,
    Size,
    Timed,
    braked,
    next_size,
    noteworthy,
    rows_per_second,
)

_MOST = 10_000
_rows = st.integers(1, _MOST)
_timed = st.builds(Timed, _rows, st.floats(0.0001, 1000))
_sizes = st.builds(
    Size,
    rows=_rows,
    number=st.integers(0, 1000),
    ceiling=st.none() | _rows,
    ceiling_number=st.integers(0, 1000),
)
_target = st.floats(0.01, 60)


@given(_sizes, st.integers(0, 2000), st.lists(_timed, max_size=20), _target, st.integers(1, _MOST))
def test_the_bounds_hold_whatever_was_seen(
    size: Size, number: int, done: list[Timed], seconds: float, most: int
) -> None:
    found = next_size(size, number, done, seconds, most)
    assert found.rows >= LEAST_ROWS
    assert found.rows <= max(most, LEAST_ROWS)
    assert found.rows <= max(found.ceiling_at(number), LEAST_ROWS)


@given(_sizes, st.integers(0, 2000), st.lists(_timed, min_size=1, max_size=20), _target)
def test_growth_is_bounded_by_what_was_seen_to_work(
    size: Size, number: int, done: list[Timed], seconds: float
) -> None:
    found = next_size(size, number, done, seconds, _MOST)
    assert found is size or found.rows <= max(one.rows for one in done) * GROWTH


@given(_sizes, st.integers(0, 2000), st.lists(_timed, max_size=20), _target)
def test_every_lane_comes_to_the_same_answer_and_stays_with_it(
    size: Size, number: int, done: list[Timed], seconds: float
) -> None:
    first = next_size(size, number, done, seconds, _MOST)
    assert next_size(size, number, done, seconds, _MOST) == first
    again = next_size(first, number, done, seconds, _MOST)
    assert again.rows == first.rows


@given(_sizes, st.integers(0, 2000), _rows, st.sampled_from(list(Cause)[1:]))
def test_trouble_never_makes_a_chunk_larger(
    size: Size, number: int, rows: int, cause: Cause
) -> None:
    found = braked(size, number, rows, cause)
    assert found is size or LEAST_ROWS <= found.rows < size.rows
    # The same trouble of a chunk of the old size does nothing more.
    assert braked(found, number, max(rows, size.rows), cause) is found


def test_the_size_is_what_takes_the_time() -> None:
    assert next_size(Size(500), 9, [Timed(500, 1.0)] * 8, 0.5, _MOST).rows == 250


def test_nothing_is_changed_for_a_little() -> None:
    size = Size(500)
    assert next_size(size, 9, [Timed(500, 0.45)] * 8, 0.5, _MOST) is size
    assert next_size(size, 9, [], 0.5, _MOST) is size


def test_what_has_become_dear_counts_at_once() -> None:
    before = [Timed(1000, 0.5)] * 7
    assert rows_per_second([Timed(1000, 50.0), *before]) == pytest.approx(20)
    assert next_size(Size(1000), 9, [Timed(1000, 50.0), *before], 0.5, _MOST).rows == 10


def test_gaps_in_the_keys_tell_nothing() -> None:
    assert rows_per_second([Timed(0, 1.0), Timed(100, 1.0)]) == 100
    assert rows_per_second([Timed(0, 1.0)]) is None
    assert rows_per_second([]) is None


def test_trouble_is_remembered_for_a_while_and_then_forgotten() -> None:
    done = [Timed(1000, 0.5)] * 8
    size = braked(Size(1000), 100, 1000, Cause.LOCK)
    assert (size.rows, size.cause, size.ceiling) == (500, Cause.LOCK, 500)
    assert next_size(size, 100 + CALM - 1, done, 0.5, _MOST) is size
    later = next_size(size, 100 + CALM, done, 0.5, _MOST)
    assert (later.rows, later.cause) == (1000, Cause.PACE)
    assert size.ceiling_at(100 + 1000 * CALM) > _MOST
    assert Size(5).ceiling_at(0) == math.inf


def test_trouble_of_the_last_few_rows_does_not_make_chunks_tiny() -> None:
    assert braked(Size(1000), 5, 3, Cause.TIMEOUT).rows == 1000 / CUT


def test_only_changes_that_say_something_are_told() -> None:
    assert noteworthy(Size(10))
    assert not noteworthy(Size(19, told=10))
    assert noteworthy(Size(20, told=10))
    assert noteworthy(Size(5, told=10))
    assert noteworthy(Size(9, cause=Cause.LOCK, told=10))


@pytest.mark.parametrize(
    ("size", "seconds", "default", "means"),
    [
        (None, None, None, ChunkSize(500)),
        (200, None, None, ChunkSize(200)),
        ("auto", None, None, ChunkSize(FIRST_ROWS, 0.5)),
        ("auto", 2, None, ChunkSize(FIRST_ROWS, 2.0)),
        (None, None, ChunkSize(7), ChunkSize(7)),
        (None, 2.0, ChunkSize(10, 0.5), ChunkSize(10, 2.0)),
        ("auto", None, ChunkSize(10, 3.0), ChunkSize(FIRST_ROWS, 3.0)),
        (50, None, ChunkSize(10, 3.0), ChunkSize(50)),
    ],
)
def test_what_is_said_of_the_size(
    size: object, seconds: float | None, default: ChunkSize | None, means: ChunkSize
) -> None:
    assert ChunkSize.checked(size, seconds, default) == means  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "seconds", "told"),
    [
        (0, None, "from 1 up, or 'auto'"),
        (True, None, "from 1 up, or 'auto'"),
        ("big", None, "from 1 up, or 'auto'"),
        (1.5, None, "from 1 up, or 'auto'"),
        (None, 0.5, "without chunk_size='auto'"),
        (100, 0.5, "without chunk_size='auto'"),
        ("auto", 0, "seconds from 0.01 to 3600"),
        ("auto", float("nan"), "seconds from 0.01 to 3600"),
        ("auto", "1", "seconds from 0.01 to 3600"),
        ("auto", True, "seconds from 0.01 to 3600"),
    ],
)
def test_what_cannot_be_meant_is_told(size: object, seconds: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ChunkSize.checked(size, seconds)  # type: ignore[arg-type]


def test_a_size_speaks_to_people() -> None:
    assert str(ChunkSize(1)) == "1 row"
    assert str(ChunkSize(1500)) == "1,500 rows"
    assert str(ChunkSize(10, 0.5)) == "as many rows as take 0.5 s"
