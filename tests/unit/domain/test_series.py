from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from breakbulk.domain.series import origin, series, stretch

BEGAN = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [(0, 1), (100, 1), (120, 1), (121, 60), (3_600, 60), (86_400, 720), (7 * 86_400, 5040)],
)
def test_about_so_many_points_whatever_the_time(elapsed: float, seconds: int) -> None:
    assert stretch(elapsed, 120) == seconds
    assert elapsed / seconds <= 121


def test_whole_minutes_begin_on_a_minute() -> None:
    assert origin(BEGAN, 1) == BEGAN
    assert origin(BEGAN, 60) == BEGAN.replace(second=0)


def test_stretches_without_anything_are_there_too() -> None:
    made = series(BEGAN, BEGAN + timedelta(seconds=5), 2, {0: 10, 2: 40}, {1: 3})
    assert [(point.rows, point.failures) for point in made.points] == [(10, 0), (0, 3), (40, 0)]
    assert made.peak == 20
    assert made.as_dict()["rate"] == [5.0, 0.0, 20.0]
    assert made.as_dict()["at"][1] - made.as_dict()["at"][0] == 2


def test_a_run_that_has_not_begun() -> None:
    assert series(BEGAN, BEGAN, 1, {}, {}).peak == 0
