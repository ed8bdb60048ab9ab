from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from breakbulk.domain.series import origin, series, stretch

BEGAN = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [
        (0, 1),
        (15, 1),
        (120, 1),
        (121, 2),
        (300, 10),
        (3_600, 30),
        (5 * 3_600, 300),
        (7 * 86_400, 10_800),
        (500 * 86_400, 5 * 86_400),
    ],
)
def test_never_more_points_than_a_curve_needs(elapsed: float, seconds: int) -> None:
    assert stretch(elapsed) == seconds
    assert elapsed / seconds <= 120


def test_each_stretch_is_a_whole_part_of_the_next() -> None:
    steps = sorted({stretch(elapsed) for elapsed in range(1, 60 * 86_400, 60)})
    assert len(steps) > 8
    for finer, coarser in pairwise(steps):
        assert coarser % finer == 0


def test_stretches_are_the_same_for_all() -> None:
    assert origin(BEGAN, 1) == BEGAN
    assert origin(BEGAN, 60) == BEGAN.replace(second=0)
    assert origin(BEGAN + timedelta(seconds=29, milliseconds=999), 60) == origin(BEGAN, 60)


def test_stretches_without_anything_are_there_too() -> None:
    made = series(BEGAN, BEGAN + timedelta(seconds=5), 2, {0: 10, 2: 40}, {1: 3})
    assert [(point.rows, point.failures) for point in made.points] == [(10, 0), (0, 3), (40, 0)]
    assert made.peak == 20
    assert made.as_dict()["rate"] == [5.0, 0.0, 20.0]
    assert made.as_dict()["at"][1] - made.as_dict()["at"][0] == 2


def test_a_run_that_has_not_begun() -> None:
    assert series(BEGAN, BEGAN, 1, {}, {}).peak == 0
