"""Figures as people read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from breakbulk.console import words
from breakbulk.domain.progress import Progress, Throttled
from breakbulk.domain.run import Summary
from breakbulk.domain.status import RunStatus

if TYPE_CHECKING:
    from breakbulk.domain.run import Run

_RUNNING = Progress(
    status=RunStatus.RUNNING,
    reason=None,
    rows_done=12_500,
    rows_total=1_000_000,
    total_is_exact=False,
    chunks_done=25,
    chunks_carved=27,
    chunks_failed=0,
    chunks_waiting=0,
    lanes=4,
    rate=8_230.4,
    elapsed=3.14,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_line_of_a_running_run() -> None:
    assert words.line(_RUNNING) == (
        "running: 12,500 of ≈ 1,000,000 rows (1.2 %), 8,230 rows/s, 1 to 3 min left, 4 lanes, 3.1 s"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "up to 1 s"),
        (10, "8 to 12 s"),
        (100, "85 to 115 s"),
        (300, "4 to 6 min"),
        (7200, "1 to 3 h"),
        (400_000, "3 to 6 days"),
    ],
)
def test_the_time_left_is_a_range(seconds: float, text: str) -> None:
    rest = int(seconds * 10)
    progress = replace(_RUNNING, rows_done=0, rows_total=rest, rate=10.0, total_is_exact=True)
    assert words.left(progress) == text
    assert words.left(replace(progress, status=RunStatus.PAUSED)) == ""


def test_no_time_is_left_that_nobody_knows() -> None:
    assert words.left(replace(_RUNNING, total_is_outrun=True)) == ""
    assert words.left(replace(_RUNNING, rate_is_steady=False)) == ""


def test_a_run_that_holds_back_says_on_what_and_claims_no_time_left() -> None:
    since = datetime(2026, 11, 26, 3, 12, tzinfo=UTC)
    held = Throttled("replica lag", "replica lag is 12.4 s, at most 10 s", 12.4, 10, since, 0)
    progress = replace(_RUNNING, throttled=held)
    assert words.status(progress) == (
        "running (throttled: replica lag is 12.4 s, at most 10 s; since 03:12 UTC)"
    )
    assert words.left(progress) == ""
    fewer = replace(progress, throttled=replace(held, since=None, lanes=1))
    assert words.status(fewer).startswith("running (throttled to 1 lane for the time being, after")


def test_exact_total_has_no_mark() -> None:
    assert words.rows(replace(_RUNNING, total_is_exact=True)) == "12,500 of 1,000,000 rows"


def test_unknown_total() -> None:
    progress = replace(_RUNNING, rows_total=None)
    assert words.rows(progress) == "12,500 rows"
    assert words.percent(progress) == "? %"
    assert not words.left(progress)


def test_all_of_nothing() -> None:
    progress = replace(
        _RUNNING, rows_done=0, rows_total=None, total_is_exact=True, chunks_done=0, chunks_carved=0
    )
    assert (words.rows(progress), words.percent(progress)) == ("0 of 0 rows", "100.0 %")


def test_100_percent_is_said_only_of_all() -> None:
    nearly = replace(_RUNNING, rows_done=999_999, total_is_exact=True)
    assert words.percent(nearly) == "99.9 %"
    assert words.percent(replace(nearly, rows_done=1_000_000)) == "100.0 %"


def test_one_of_a_kind() -> None:
    summary = Summary(1, 1, 1, 1, 1, 1, 2.0)
    run = SimpleNamespace(id=7, job="count", reason=None, status=RunStatus.PARTIAL, summary=summary)
    assert words.ending(cast("Run", run), _RUNNING) == (
        "Run 7 of count ended partial: 1 row in 1 chunk, 1 row in 1 chunk given up, 2.0 s."
    )


def test_chunks_that_were_split_are_not_more_than_all() -> None:
    progress = replace(_RUNNING, chunks_done=25, chunks_carved=40)
    assert words.chunks(progress) == "25 done of 40 carved so far"
    ended = replace(progress, chunks_done=40, total_is_exact=True)
    assert words.chunks(ended) == "40 done of 40"
    split = replace(ended, chunks_done=48, chunks_failed=1)
    assert words.chunks(split) == "48 done, in parts of 40"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (RunStatus.RUNNING, "is running"),
        (RunStatus.SUCCEEDED, "has succeeded"),
        (RunStatus.PARTIAL, "ended partial"),
        (RunStatus.FAILED, "has failed"),
        (RunStatus.CANCELLED, "was cancelled"),
    ],
)
def test_where_a_run_stands_is_said_in_english(status: RunStatus, text: str) -> None:
    assert words.stands(status) == text


def test_of_what_ended_early_nobody_knows_the_part() -> None:
    failed = replace(_RUNNING, status=RunStatus.FAILED, rows_done=1_136, rows_total=None)
    assert words.line(failed).startswith("failed: 1,136 rows, ")


def test_troubles_are_counted() -> None:
    progress = replace(_RUNNING, chunks_waiting=1, chunks_failed=2)
    assert words.troubles(progress) == "1 chunk waiting, 2 chunks failed"
    assert "1 lane, 1 chunk waiting" in words.line(replace(progress, lanes=1))


def test_line_of_a_run_at_rest_claims_no_pace() -> None:
    held = replace(_RUNNING, status=RunStatus.HELD, reason="no such table")
    assert words.line(held) == "held (no such table): 12,500 of ≈ 1,000,000 rows (1.2 %), 3.1 s"


def test_a_reason_hides_nothing_that_is_waited_for() -> None:
    stopped = replace(_RUNNING, status=RunStatus.FINISHING, reason="by olga", waits="no worker")
    assert words.status(stopped) == "finishing (by olga; waiting: no worker)"


@pytest.mark.parametrize(
    ("stood", "text"), [(0.4, "3.1 s"), (7_260, "3.1 s, 2 h 1 min after its submit")]
)
def test_took(stood: float, text: str) -> None:
    assert words.took(replace(_RUNNING, stood=stood)) == text
