"""A cap on rows a second, whoever takes them and whenever they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.allowance import PATIENCE, Allowance

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_what_was_taken_has_to_be_waited_for() -> None:
    taken = Allowance(100, NOON, None).after(50)
    later = Allowance(100, NOON, taken)
    assert later.wait == 0.5
    assert Allowance(100, taken, taken).wait == 0


def test_it_is_worth_a_slot_only_if_it_is_soon() -> None:
    waits = (PATIENCE, PATIENCE + 0.1)
    found = [Allowance(1, NOON, NOON + timedelta(seconds=one)).due for one in waits]
    assert found == [True, False]


def test_a_lane_takes_a_quarter_of_a_second_and_one_chunk_at_least() -> None:
    assert Allowance(10_000, NOON, None).chunks(100, 500) == 5
    assert Allowance(10_000, NOON, None).chunks(2, 500) == 2
    assert Allowance(10, NOON, None).chunks(100, 500) == 1


def test_what_was_not_used_after_all_may_be_taken_again() -> None:
    taken = Allowance(100, NOON, NOON).after(50)
    assert Allowance(100, NOON, taken).after(-50) == NOON


def test_nobody_makes_up_for_a_long_pause() -> None:
    idle = Allowance(100, NOON, NOON - timedelta(hours=1))
    assert idle.after(300) == NOON + timedelta(seconds=2), "but for a second"


@given(
    st.floats(0.5, 50_000),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 2_000)), min_size=1, max_size=50),
)
def test_never_more_than_the_cap_over_any_time(cap: float, takes: list[tuple[float, int]]) -> None:
    """However late they come, lanes begin no more than the cap, a second's credit and one take."""
    now, until, begun = NOON, None, 0
    for late, rows in takes:
        now += timedelta(seconds=Allowance(cap, now, until).wait + late)
        assert Allowance(cap, now, until).wait == 0
        seconds = (now - NOON).total_seconds()
        assert begun <= cap * (seconds + 1) + 1e-3 * cap + 1
        until = Allowance(cap, now, until).after(rows)
        begun += rows


def test_lanes_that_come_a_little_late_get_the_whole_cap() -> None:
    now, until, begun = NOON, None, 0
    while now < NOON + timedelta(minutes=5):
        now += timedelta(seconds=Allowance(100, now, until).wait + 0.2)
        until = Allowance(100, now, until).after(25)
        begun += 25
    assert abs(begun / 300 - 100) < 1
