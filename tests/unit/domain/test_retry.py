from __future__ import annotations

import pytest

from breakbulk.domain.retry import RetryPolicy


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_there_is_one_try_more_than_retries(retries: int) -> None:
    policy = RetryPolicy(max_retries=retries, retry_delay=60.0)
    waits = [policy.wait_after(attempt) for attempt in range(1, retries + 3)]
    assert waits == [60.0] * retries + [None, None]


def test_no_delay_is_not_giving_up() -> None:
    assert RetryPolicy(1, 0).wait_after(1) == 0
