"""Attempts as bars on a line of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from breakbulk.domain.history import Attempt, AttemptState
from breakbulk.web.timeline import WIDTH, timeline

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_bars_stand_where_their_attempts_were() -> None:
    drawn = timeline(
        [
            Attempt(1, AttemptState.FAILED, after(0), after(10)),
            Attempt(2, AttemptState.FAILED, after(70), after(90)),
            Attempt(3, AttemptState.SUCCEEDED, after(90), after(100)),
        ],
        after(500),
    )
    assert drawn is not None
    assert (drawn.begin, drawn.end) == (after(0), after(100))
    assert [(span.x, span.width) for span in drawn.spans] == [(0, 60), (420, 120), (540, 60)]
    assert len({span.y for span in drawn.spans}) == 3
    assert drawn.height > max(span.y for span in drawn.spans)


def test_what_goes_on_reaches_up_to_now() -> None:
    attempts = [
        Attempt(1, AttemptState.FAILED, after(0), after(30)),
        Attempt(2, AttemptState.RUNNING, after(30)),
    ]
    drawn = timeline(attempts, after(60))
    assert drawn is not None
    assert drawn.end == after(60)
    assert [span.width for span in drawn.spans] == [WIDTH / 2, WIDTH / 2]


def test_the_shortest_one_is_seen_and_stays_inside() -> None:
    drawn = timeline(
        [
            Attempt(1, AttemptState.FAILED, after(0), after(0.001)),
            Attempt(2, AttemptState.SUCCEEDED, after(3_600), after(3_600.001)),
        ],
        after(4_000),
    )
    assert drawn is not None
    for span in drawn.spans:
        assert span.width >= 4
        assert 0 <= span.x <= WIDTH - span.width


@pytest.mark.parametrize(
    "attempt",
    [
        Attempt(1, AttemptState.FAILED, ended=after(5)),
        Attempt(1, AttemptState.SUCCEEDED, after(5), after(5)),
        # A clock that was asked a moment too early.
        Attempt(1, AttemptState.RUNNING, after(9)),
    ],
)
def test_no_time_at_all_is_drawn_all_the_same(attempt: Attempt) -> None:
    drawn = timeline([attempt, attempt], after(5))
    assert drawn is not None
    assert [span.x for span in drawn.spans] == [0, 0]


def test_nothing_to_draw() -> None:
    assert timeline([], NOON) is None
    assert timeline([Attempt(1, AttemptState.FAILED, NOON, after(1))], after(2)) is None
    ahead = [Attempt(1, AttemptState.WAITING, due=after(60)), Attempt(1, AttemptState.CLAIMED)]
    assert timeline(ahead, NOON) is None
