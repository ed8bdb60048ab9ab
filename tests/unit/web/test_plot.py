"""A run's pace as a path."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from breakbulk.domain.series import series
from breakbulk.web.plot import HEIGHT, WIDTH, Plot, plot

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def drawn(rows: dict[int, int], failures: dict[int, int], *, stretches: int = 4) -> Plot | None:
    end = NOON + timedelta(seconds=10 * stretches)
    return plot(series(NOON, end, 10, rows, failures))


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", path)]


def test_the_highest_rate_is_at_the_top_and_nothing_at_the_bottom() -> None:
    made = drawn({0: 50, 1: 100, 3: 25}, {})
    assert made is not None
    fourth = WIDTH / 4
    assert corners(made.line) == [
        (0, HEIGHT / 2),
        (fourth, 0),
        (2 * fourth, HEIGHT),
        (3 * fourth, HEIGHT * 3 / 4),
        (WIDTH, HEIGHT),
    ]
    assert made.peak == 10
    assert made.failures == []


def test_the_area_is_the_line_closed_below() -> None:
    made = drawn({0: 50}, {})
    assert made is not None
    assert made.area == f"{made.line} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z"


def test_failures_stand_in_the_lowest_third_where_they_were() -> None:
    made = drawn({0: 50}, {1: 4, 4: 1})
    assert made is not None
    assert made.failures == [(WIDTH / 4, HEIGHT / 3), (WIDTH, HEIGHT / 12)]


def test_what_only_fails_is_drawn_too() -> None:
    made = drawn({}, {2: 1})
    assert made is not None
    assert made.peak == 0
    assert {y for _, y in corners(made.line)} == {HEIGHT}
    assert made.failures == [(WIDTH / 2, HEIGHT / 3)]


def test_nothing_and_a_single_point_are_no_picture() -> None:
    assert drawn({}, {}) is None
    assert drawn({0: 50}, {}, stretches=0) is None
