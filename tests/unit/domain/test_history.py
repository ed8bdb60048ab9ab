"""The attempts at a chunk, in order of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from breakbulk.domain.failed import FailureReport
from breakbulk.domain.history import Attempt, AttemptState, began, failed_attempts

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def failure(number: int, *, seconds: float | None = 2.0) -> FailureReport:
    return FailureReport(
        id=number,
        at=NOON + timedelta(minutes=number),
        round=1,
        number=7,
        path="",
        attempt=number,
        error="shop.Trouble",
        message="no price",
        place=None,
        traceback=None,
        after=None,
        upto="[500]",
        rows=500,
        worker=f"here/{number}",
        host="here",
        seconds=seconds,
    )


def test_failures_are_told_from_the_first_to_the_last() -> None:
    told = failed_attempts([failure(3), failure(1), failure(2)])
    assert [one.number for one in told] == [1, 2, 3]
    assert {one.state for one in told} == {AttemptState.FAILED}
    assert [one.worker for one in told] == ["here/1", "here/2", "here/3"]
    assert told[0].ended == NOON + timedelta(minutes=1)
    assert told[0].seconds == 2.0


def test_what_was_not_measured_has_no_beginning() -> None:
    (told,) = failed_attempts([failure(1, seconds=None)])
    assert told.began is None
    assert told.seconds is None
    assert began(NOON, 90.0) == NOON - timedelta(seconds=90)


def test_what_has_not_ended_has_taken_no_time() -> None:
    assert Attempt(1, AttemptState.RUNNING, began=NOON).seconds is None
