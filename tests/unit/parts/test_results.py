"""Results as text, and all of them as a sequence that reads pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from kombu.utils.json import dumps

from breakbulk.errors import ResultRefused
from breakbulk.parts.results import (
    MOST_LISTED,
    PAGE,
    Results,
    decode_result,
    encode_result,
    listed,
)


@pytest.mark.parametrize("value", [None, 0, "", [1, {"a": None}], datetime(2026, 1, 1, tzinfo=UTC)])
def test_it_comes_back(value: Any) -> None:
    assert decode_result(encode_result(value, "t", 100)) == value


def test_what_is_too_large_is_refused() -> None:
    assert encode_result("x" * 98, "t", 100) is not None
    with pytest.raises(ResultRefused, match=r"team.t returned 101 bytes .* may have 100: store"):
        encode_result("x" * 99, "team.t", 100)
    with pytest.raises(ResultRefused, match="returned 102 bytes"):
        encode_result("ü" * 50, "t", 100)


@pytest.mark.parametrize("value", [object(), {1: {2}}, float("nan")])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(ResultRefused, match="cannot be kept as JSON"):
        encode_result(value, "t", 100)


def sequence(size: int) -> tuple[Results, list[tuple[int, int]]]:
    """Results that are their numbers, the even ones missing; and what was read."""
    asked: list[tuple[int, int]] = []

    def read(low: int, high: int) -> dict[int, str]:
        asked.append((low, high))
        return {number: str(number) for number in range(low, high + 1) if number % 2}

    return Results(size, read), asked


def test_it_reads_what_is_asked_for() -> None:
    results, asked = sequence(2 * PAGE + 10)
    assert asked == []
    assert (len(results), results[0], results[1], results[-2]) == (2 * PAGE + 10, 1, None, 2009)
    assert results[2 * PAGE + 8] == 2009
    assert asked == [(1, PAGE), (2 * PAGE + 1, 2 * PAGE + 10)]
    assert results[2:6] == [3, None, 5, None]
    with pytest.raises(IndexError, match="2010 results"):
        results[2 * PAGE + 10]


def test_it_is_iterated_in_pages() -> None:
    results, asked = sequence(PAGE + 1)
    assert list(results) == [n if n % 2 else None for n in range(1, PAGE + 2)]
    assert asked == [(1, PAGE), (PAGE + 1, PAGE + 1)]
    assert list(sequence(0)[0]) == []


def test_few_are_a_list() -> None:
    assert listed(3, lambda low, high: {1: "1"}) == [1, None, None]
    assert isinstance(listed(MOST_LISTED, lambda low, high: {}), list)
    assert isinstance(listed(MOST_LISTED + 1, lambda low, high: {}), Results)


def test_it_can_be_sent_on() -> None:
    assert dumps({"of": sequence(3)[0]}) == '{"of": [1, null, 3]}'
