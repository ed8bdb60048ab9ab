"""What may be said about holding back, and what of it is kept."""

from __future__ import annotations

import json

import pytest

from breakbulk.domain.options import Options
from breakbulk.domain.progress import Throttled
from breakbulk.domain.throttle import NO_THROTTLE, OPTIONS, Throttle, ThrottleOptions
from breakbulk.domain.throttling import Gauge, Reading, ThrottleState
from breakbulk.errors import DeclarationError
from tests.unit.domain.test_throttling import NOON, lag

_ALL = {
    "max_replica_lag": 10,
    "max_lock_waits": 0,
    "throttle_on": "SELECT NULL",
    "only": "22:00-06:00",
    "max_rows_per_second": 1500.5,
}


def test_it_comes_back_as_it_was_kept() -> None:
    throttle = NO_THROTTLE.changed(_ALL)
    assert Throttle.from_dict(json.loads(json.dumps(throttle.as_dict()))) == throttle
    assert tuple(_ALL) == OPTIONS == tuple(ThrottleOptions.__annotations__)
    assert Throttle.from_dict({"of a later version": 1}) == NO_THROTTLE


def test_it_is_off_unless_something_is_asked_for() -> None:
    assert not NO_THROTTLE
    assert Throttle(max_lock_waits=0), "none at all is something"
    assert not Throttle(max_lock_waits=0).changed({"max_lock_waits": None})
    assert [Throttle(only="x").gated, Throttle(max_rows_per_second=1.0).gated] == [True, False]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_replica_lag", 0),
        ("max_replica_lag", "10"),
        ("max_replica_lag", True),
        ("max_lock_waits", -1),
        ("max_lock_waits", 1.5),
        ("throttle_on", " "),
        ("throttle_on", 5),
        ("only", "at night"),
        ("only", 22),
        ("max_rows_per_second", 0),
        ("max_rows_per_second", float("inf")),
    ],
)
def test_a_mistake_is_told_at_declaration(option: str, value: object) -> None:
    with pytest.raises(DeclarationError, match=rf"The job Nightly has {option}=.*: it must be "):
        Options.checked("Nightly", **{option: value})  # type: ignore[arg-type]


def test_a_declaration_keeps_what_it_says() -> None:
    assert Options.checked("Nightly", max_lock_waits=3).throttle == Throttle(max_lock_waits=3)


def test_each_rule_is_told_in_words() -> None:
    assert NO_THROTTLE.changed(_ALL).words() == [
        "replica lag at most 10 s",
        "at most 0 sessions waiting for locks",
        "as long as its check says nothing",
        "only 22:00-06:00",
        "at most 1,500.5 rows/s",
    ]


def test_under_a_cap_no_chunk_is_larger_than_a_second_of_it() -> None:
    sizes = [Throttle(max_rows_per_second=cap).chunk_size(500) for cap in (0.1, 120.7, 9_000)]
    assert sizes == [1, 120, 500]


def test_what_is_shown_says_what_was_measured_and_since_when() -> None:
    held = Throttled.of(ThrottleState(lag(12.4), NOON), 0)
    assert str(held) == "lag is 12.4; since 12:00 UTC"
    assert held is not None
    assert held.as_dict() == {
        "by": "replica lag",
        "reason": "lag is 12.4",
        "value": 12.4,
        "limit": 10.0,
        "since": "2026-11-26T12:00:00+00:00",
        "lanes": 0,
    }


def test_what_is_shown_of_a_run_that_goes_on_soon() -> None:
    assert str(Throttled.of(ThrottleState(lag(9), NOON), 0)) == (
        "lag is 9, which has to last; since 12:00 UTC"
    )


def test_what_is_shown_of_a_run_with_fewer_lanes() -> None:
    fewer = Throttled.of(ThrottleState(lag(12.4), None, 2, NOON), 2)
    assert str(fewer) == "to 2 lanes for the time being, after this: lag is 12.4"


def test_a_run_that_nobody_has_looked_at_says_so_and_others_say_nothing() -> None:
    assert str(Throttled.of(None, 0)) == "what it holds back on has not been looked at yet"
    assert Throttled.of(None, None) is None
    assert Throttled.of(None, 1) is None, "under a cap that is all it needs"
    calm = ThrottleState(Reading(Gauge.CHECK, "its check says so", over=False, calm=True))
    assert Throttled.of(calm, None) is None
