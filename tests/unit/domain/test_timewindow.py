"""Hours in which a run may work: over midnight, on some days, and when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from breakbulk.domain.timewindow import TimeWindow

_MINUTE = timedelta(minutes=1)
# Europe/Berlin: put forward on 29 March 2026 at 01:00 UTC, back on 25 October at 01:00 UTC.
_FORWARD, _BACK = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "opens", "closed"),
    [
        ("09:00-17:00", ["2026-11-26T09:00", "2026-11-26T16:59"], ["2026-11-26T17:00"]),
        ("22:00-06:00", ["2026-11-26T22:00", "2026-11-27T05:59"], ["2026-11-27T06:00"]),
        ("0:00-24:00", ["2026-11-26T00:00", "2026-11-26T23:59"], []),
        # 26 November 2026 is a Thursday. The night that begins on Friday ends on Saturday.
        ("Fri 22:00-06:00", ["2026-11-28T05:00"], ["2026-11-27T05:00", "2026-11-28T22:00"]),
        ("sat,Sun 08:00-12:00", ["2026-11-28T08:00"], ["2026-11-27T08:00"]),
        ("Sat-Mon 08:00-12:00", ["2026-11-30T08:00"], ["2026-12-01T08:00"]),
        ("08:00-12:00 Europe/Berlin", ["2026-11-26T07:00"], ["2026-11-26T11:00"]),
    ],
)
def test_it_is_open_in_its_hours(hours: str, opens: list[str], closed: list[str]) -> None:
    window = TimeWindow.parsed(hours)
    assert [one for one in opens if not window.is_open(at(one))] == []
    assert [one for one in closed if window.is_open(at(one))] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("at night", "hours as in"),
        ("22-06", "hours as in"),
        ("25:00-06:00", "00:00 to 24:00"),
        ("22:60-06:00", "00:00 to 24:00"),
        ("24:00-06:00", "00:00 to 24:00"),
        ("22:00-22:00", "begin and end at different times"),
        ("Mon-Foo 22:00-06:00", "'mon-foo' is none"),
        ("22:00-06:00 Mars/Base", "'Mars/Base' is none"),
        ("22:00-06:00 ../../etc/passwd", "is none"),
    ],
)
def test_what_is_no_such_hours_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        TimeWindow.parsed(text)


def test_an_hour_that_the_clocks_leave_out_opens_when_they_have_been_put_forward() -> None:
    window = TimeWindow.parsed("02:30-06:00 Europe/Berlin")
    assert not window.is_open(_FORWARD - _MINUTE)
    assert window.is_open(_FORWARD), "it is 03:00 by then"
    assert window.opens_at(_FORWARD - timedelta(hours=3)) == _FORWARD


def test_an_hour_that_comes_twice_counts_twice() -> None:
    window = TimeWindow.parsed("02:00-02:15 Europe/Berlin")
    first, second = _BACK - timedelta(hours=1), _BACK
    assert [window.is_open(one + timedelta(minutes=14)) for one in (first, second)] == [True, True]
    assert window.opens_at(first + timedelta(minutes=15)) == second


_HOURS = st.tuples(
    st.sampled_from(["", "Sun ", "Mon-Fri ", "Sat,Sun "]),
    st.integers(0, 23),
    st.sampled_from([0, 30]),
    st.integers(0, 23),
    st.sampled_from([15, 45]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
).map(lambda one: f"{one[0]}{one[1]:02}:{one[2]:02}-{one[3]:02}:{one[4]:02} {one[5]}")
_AROUND = st.sampled_from([_FORWARD, _BACK, at("2026-11-01T06:00"), at("2026-04-04T15:00")])


@given(_HOURS, _AROUND, st.integers(-1500, 300))
@example("00:00-02:15 Europe/Berlin", _BACK, -40)
def test_it_opens_when_it_says_and_not_before(hours: str, around: datetime, minutes: int) -> None:
    window = TimeWindow.parsed(hours)
    now = around + timedelta(minutes=minutes)
    opens = window.opens_at(now)
    assert opens is not None
    assert window.is_open(opens)
    # Every quarter of an hour until then, and the minute before: all of them closed.
    steps = range(0, int((opens - now) / _MINUTE), 15)
    assert not [one for one in steps if window.is_open(now + timedelta(minutes=one))]
    assert opens == now or not window.is_open(opens - _MINUTE)
