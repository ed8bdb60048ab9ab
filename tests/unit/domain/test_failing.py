from __future__ import annotations

import json

import pytest

from breakbulk.domain.failing import FailurePolicy, OnFailure, Tolerance
from breakbulk.domain.retry import RetryPolicy


@pytest.mark.parametrize(
    ("given", "failed", "total", "room"),
    [
        (0, 0, 100, 0),
        (0, 1, 100, -1),
        (10, 10, None, 0),
        (10, 11, None, -1),
        ("5%", 5, 100, 0),
        ("5%", 6, 100, -1),
        (" 2.5 %", 25, 1000, 0),
        ("2.5%", 26, 1000, -1),
        ("2.5%", 25, 1039, 0),
        ("0.29%", 29, 10_000, 0),
        ("5%", 1000, None, None),
        ("0%", 1, 10, -1),
        ("100%", 10, 10, 0),
        ("50%", 0, 1000, 500),
    ],
)
def test_how_much_may_still_fail(
    given: int | str, failed: int, total: int | None, room: int | None
) -> None:
    assert Tolerance.parsed(given).room(failed, total) == room


@pytest.mark.parametrize("given", [-1, True, 1.5, "5", "101%", "-1%", "many", "", None])
def test_what_is_no_tolerance(given: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Tolerance.parsed(given)


def test_a_policy_survives_the_ledger() -> None:
    policy = FailurePolicy(
        RetryPolicy(3, 1.5, 2.0, 30.0, retry_jitter=False, retry_for=("OSError",)),
        OnFailure.SKIP,
        Tolerance(per_cent=2.5),
    )
    assert FailurePolicy.from_dict(json.loads(json.dumps(policy.as_dict()))) == policy
    plain = FailurePolicy()
    assert FailurePolicy.from_dict(json.loads(json.dumps(plain.as_dict()))) == plain


def test_halves_are_tried_once_and_single_rows_twice() -> None:
    policy = FailurePolicy(RetryPolicy(max_retries=5, retry_delay=60))
    assert [policy.tries("", 500), policy.tries("01", 125), policy.tries("0101", 1)] == [6, 1, 2]
    assert policy.wait_after(5, "", 500) == 60
    assert policy.wait_after(6, "", 500) is None
    assert policy.wait_after(1, "01", 125) is None
    assert policy.wait_after(1, "0101", 1) == 60
    assert policy.wait_after(2, "0101", 1) is None


def test_shares_are_tried_as_often_as_any_chunk_and_their_halves_are_halves() -> None:
    policy = FailurePolicy(RetryPolicy(max_retries=5, retry_delay=60))
    assert [policy.tries(path, 9) for path in ("a", "ba", "a0", "ba01")] == [6, 6, 1, 1]
    assert [policy.tries(path, 1) for path in ("b", "b1")] == [6, 2]
    assert policy.wait_after(5, "ab", 9) == 60
    assert policy.wait_after(1, "ab0", 9) is None


def test_a_single_row_gets_no_second_try_for_what_is_given_up() -> None:
    policy = FailurePolicy(RetryPolicy(give_up_for=("ValueError",)))
    assert policy.wait_after(1, "01", 1, ("ValueError", "Exception")) is None
