"""When a run holds back, when it goes on, and with how many lanes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.throttling import (
    GROW_AFTER,
    SHORTEST_HOLD,
    Gauge,
    Reading,
    ThrottleState,
    decide,
    lanes_under,
)

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
_LIMIT = 10.0


def lag(seconds: float) -> Reading:
    return Reading.of_value(Gauge.REPLICA_LAG, f"lag is {seconds}", seconds, _LIMIT)


def hours(*, is_open: bool) -> Reading:
    return Reading(Gauge.WINDOW, "only at night", not is_open, is_open)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def play(*looks: tuple[float, Reading], lanes: int = 8, most: int = 8) -> list[ThrottleState]:
    """What becomes of a throttle over some looks; while it does not hold, all lanes work."""
    states = [ThrottleState()]
    for seconds, reading in looks:
        before = states[-1]
        at_work = 0 if before.holds else min(lanes, before.ceiling or lanes)
        states.append(decide(before, [reading], after(seconds), lanes=at_work, most=most))
    return states[1:]


def test_it_holds_back_above_the_limit_and_not_at_it() -> None:
    assert [one.holds for one in play((0, lag(9.9)), (2, lag(10)), (4, lag(10.1)))] == [0, 0, 1]


def test_it_goes_on_only_well_below_the_limit() -> None:
    *_, near, calm = play((0, lag(12)), (30, lag(9)), (32, lag(8)))
    assert near.holds
    assert near.since == NOON, "since it began, whatever is measured now"
    assert near.reading == lag(9)
    assert not calm.holds


def test_it_holds_back_for_some_seconds_at_least() -> None:
    held, gone_on = play((0, lag(12)), (SHORTEST_HOLD - 1, lag(0)), (SHORTEST_HOLD, lag(0)))[1:]
    assert (held.holds, gone_on.holds) == (True, False)


def test_hours_open_at_once_and_with_all_lanes() -> None:
    states = play((0, hours(is_open=False)), (1, hours(is_open=True)))
    assert [one.holds for one in states] == [True, False]
    assert states[-1].ceiling is None


def test_after_a_load_it_comes_back_with_half_its_lanes_and_grows_while_it_is_calm() -> None:
    begin = SHORTEST_HOLD
    grown = [begin + GROW_AFTER * step for step in range(1, 5)]
    states = play((0, lag(12)), (begin, lag(1)), *((at, lag(1)) for at in grown))
    assert [one.ceiling for one in states] == [4, 4, 5, 6, 7, None]


def test_it_does_not_grow_near_the_limit() -> None:
    states = play((0, lag(12)), (10, lag(1)), (10 + GROW_AFTER, lag(9)), (60, lag(1)))
    assert [one.ceiling for one in states] == [4, 4, 4, 5]


def test_each_time_it_comes_back_with_fewer_and_with_one_at_least() -> None:
    looks = [(float(at), lag(12 if at % 20 == 0 else 1)) for at in range(0, 90, 10)]
    ceilings = [one.ceiling for one in play(*looks)[::2]]
    assert ceilings == [4, 2, 1, 1, 1]


def test_two_reasons_are_two_reasons() -> None:
    state = decide(ThrottleState(), [hours(is_open=False), lag(12)], NOON, lanes=4, most=4)
    state = decide(state, [hours(is_open=True), lag(12)], after(60), lanes=0, most=4)
    assert state.reading == lag(12)
    assert (state.holds, state.since) == (True, NOON)
    assert not decide(state, [hours(is_open=True), lag(1)], after(70), lanes=0, most=4).holds


def test_what_cannot_be_told_holds_it_back_until_it_can_be() -> None:
    blind = Reading.failed(Gauge.REPLICA_LAG, "no replica is connected")
    states = play((0, blind), (60, blind), (62, lag(0)))
    assert [one.holds for one in states] == [True, True, False]
    assert blind.says == "replica lag cannot be told: no replica is connected"


def test_a_rule_that_is_taken_away_holds_nobody_back() -> None:
    held = decide(ThrottleState(), [lag(12)], NOON, lanes=2, most=2)
    assert not decide(held, [], after(2), lanes=0, most=2).holds


@given(st.lists(st.tuples(st.floats(0.5, 30), st.floats(0, 30)), max_size=60))
def test_it_never_flaps(looks: list[tuple[float, float]]) -> None:
    """Whatever is measured: no work above the limit, and holds and pauses that last."""
    now, state, changes = 0.0, ThrottleState(), []
    for pause, value in looks:
        now += pause
        before = state
        lanes = 0 if state.holds else 4
        state = decide(state, [lag(value)], after(now), lanes=lanes, most=8)
        assert state.holds or value <= _LIMIT
        assert state.ceiling is None or 1 <= state.ceiling < 8
        if before.holds and not state.holds:
            assert value <= _LIMIT * 0.8
            assert before.since is not None
            assert after(now) - before.since >= timedelta(seconds=SHORTEST_HOLD)
        if before.holds != state.holds:
            changes.append(now)
    holds = list(zip(changes[::2], changes[1::2], strict=False))
    assert all(end - begin >= SHORTEST_HOLD - 1e-6 for begin, end in holds)


def test_a_cap_keeps_only_so_many_lanes_at_work() -> None:
    assert lanes_under(100, 0, 0.0) == 1, "nobody knows yet"
    assert lanes_under(100, rows=1_000, seconds=1.0) == 1
    assert lanes_under(1_000, rows=1_000, seconds=1.0) == 2
    assert lanes_under(4_000, rows=1_000, seconds=1.0) == 5
