from __future__ import annotations

import pytest

from breakbulk.runner.pacing import Crowd, Pace, share_of_last, share_of_rest


def test_nobody_hoards_before_the_pace_is_known() -> None:
    assert Pace(1000).chunks_in(3600) == 1


@pytest.mark.parametrize(
    ("seconds", "budget", "chunks"),
    [(0.01, 1.0, 100), (0.5, 1.0, 2), (5.0, 1.0, 1), (0.0, 1.0, 1000), (1e-9, 1.0, 1000)],
)
def test_a_lane_takes_what_fits_into_its_time(seconds: float, budget: float, chunks: int) -> None:
    pace = Pace(1000)
    pace.observe(seconds)
    assert pace.chunks_in(budget) == chunks


def test_what_it_takes_to_come_by_chunks_is_part_of_their_time() -> None:
    pace = Pace(1000)
    pace.observe(0.001)
    pace.got(1, seconds=0.5)
    assert pace.chunks_in(0.5) == 500, "one chunk tells nothing of many"
    pace.got(100, seconds=0.1)
    assert pace.chunks_in(0.5) == 250


def test_the_pace_follows_what_is_seen() -> None:
    pace = Pace(1000)
    pace.observe(0.01)
    fast = pace.chunks_in(1)
    for _ in range(30):
        pace.observe(0.5)
    assert pace.chunks_in(1) in {1, 2}
    for _ in range(60):
        pace.observe(0.01)
    assert pace.chunks_in(1) == pytest.approx(fast, abs=2)


@pytest.mark.parametrize(("found", "share"), [(0, 0), (1, 1), (2, 1), (3, 2), (10, 5), (11, 6)])
def test_the_last_chunks_are_halved_until_none_is_left(found: int, share: int) -> None:
    assert share_of_last(found) == share
    left = found
    while left:
        left -= share_of_last(left)
    assert left == 0


@pytest.mark.parametrize(
    ("left", "lanes", "share"),
    [
        (10_000, 2, 200),  # far from the end it is as much as the lane would take
        (400, 2, 100),
        (401, 2, 101),
        (40, 2, 20),  # and near it what is worth the asking
        (400, 50, 20),
        (400, 0, 200),
        (0, 2, 200),  # more than were expected: nobody knows how many are to come
        (-5, 2, 200),
    ],
)
def test_where_few_are_left_nobody_takes_more_than_falls_to_him(
    left: int, lanes: int, share: int
) -> None:
    assert share_of_rest(200, 20, left, lanes) == share


def test_nobody_takes_more_than_he_would() -> None:
    assert share_of_rest(1, 20, 40, 2) == 1


def test_who_was_not_the_fastest_asks_later_and_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("breakbulk.runner.pacing.time.sleep", waits.append)
    monkeypatch.setattr("breakbulk.runner.pacing.random.uniform", lambda _least, most: most)
    crowd = Crowd()
    assert crowd.seconds(1.0) == 1.0
    crowd.wait()
    assert crowd.seconds(1.0) == 1.0, "once is chance"
    for _ in range(20):
        crowd.wait()
    assert crowd.seconds(1.0) == 8.0
    assert waits == sorted(waits)
    assert waits[0] == 0.002
    assert waits[-1] == 1.0
    crowd.passed()
    assert 1.0 < crowd.seconds(1.0) < 8.0
    crowd.wait()
    assert waits[-1] == 0.002, "it begins anew"
    for _ in range(30):
        crowd.passed()
    assert crowd.seconds(1.0) == 1.0


@pytest.mark.parametrize(
    ("lanes", "seconds"), [(1, 1.0), (2, 1.0), (8, 1.0), (16, 2.0), (64, 8.0), (1000, 8.0)]
)
def test_where_there_are_many_each_takes_more_at_a_time(lanes: int, seconds: float) -> None:
    crowd = Crowd()
    crowd.passed(lanes)
    assert crowd.seconds(1.0) == seconds
