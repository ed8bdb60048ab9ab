from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from breakbulk.web.environment import period, size, took


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_400, "1.4 kB"),
        (123_456_789, "123 MB"),
        (1_400_000_000, "1.4 GB"),
        (10**19, "10000 PB"),
    ],
)
def test_bytes_in_the_unit_that_fits(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0 ms"), (0.0094, "9 ms"), (1.25, "1.2 s"), (200, "3 min 20 s")]
)
def test_a_chunk_takes_milliseconds_or_more(seconds: float, words: str) -> None:
    assert took(seconds) == words


def test_a_period_says_nothing_twice() -> None:
    end = datetime(2026, 11, 26, 12, 0, 5, 500_000, tzinfo=UTC)
    assert period(None, end) == "2026-11-26 12:00:05 UTC"
    assert period(end - timedelta(milliseconds=3), end) == "2026-11-26 12:00:05 UTC"
    assert period(end - timedelta(seconds=5), end) == "2026-11-26 12:00:00 to 12:00:05 UTC"
    across = "2026-11-25 12:00:05 to 2026-11-26 12:00:05 UTC"
    assert period(end - timedelta(days=1), end) == across
