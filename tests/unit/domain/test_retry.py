from __future__ import annotations

import pytest
from celery.utils.time import get_exponential_backoff_interval
from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.retry import RetryPolicy, class_name, class_names


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_there_is_one_try_more_than_retries(retries: int) -> None:
    policy = RetryPolicy(max_retries=retries, retry_delay=60.0)
    waits = [policy.wait_after(attempt) for attempt in range(1, retries + 3)]
    assert waits == [60.0] * retries + [None, None]


def test_no_delay_is_not_giving_up() -> None:
    assert RetryPolicy(1, 0).wait_after(1) == 0


def test_a_backoff_doubles_up_to_its_end() -> None:
    policy = RetryPolicy(max_retries=9, retry_backoff=3, retry_backoff_max=20, retry_jitter=False)
    assert [policy.wait_after(attempt) for attempt in range(1, 6)] == [3, 6, 12, 20, 20]


@pytest.mark.parametrize("backoff", [True, 1, 3, 30])
@pytest.mark.parametrize("most", [600, 45])
def test_a_backoff_is_as_long_as_celerys(backoff: int, most: int) -> None:
    policy = RetryPolicy(
        max_retries=20, retry_backoff=backoff, retry_backoff_max=most, retry_jitter=False
    )
    for attempt in range(1, 15):
        theirs = get_exponential_backoff_interval(int(backoff), attempt - 1, most)
        assert policy.wait_after(attempt) == theirs


def test_jitter_draws_between_nothing_and_the_delay() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 4

    policy = RetryPolicy(max_retries=9, retry_backoff=1)
    assert policy.wait_after(3, draw=draw) == 1
    assert drawn == [(0, 4)]
    # Celery draws only for a back-off, too.
    assert RetryPolicy(max_retries=9, retry_delay=60).wait_after(3, draw=draw) == 60


@given(
    attempt=st.integers(1, 10_000),
    backoff=st.floats(0, 1e6),
    most=st.floats(0, 1e6),
    jitter=st.booleans(),
)
def test_no_delay_is_ever_absurd(
    attempt: int, backoff: float, most: float, *, jitter: bool
) -> None:
    policy = RetryPolicy(
        max_retries=20_000,
        retry_backoff=backoff,
        retry_backoff_max=most,
        retry_jitter=jitter,
    )
    wait = policy.wait_after(attempt)
    assert wait is not None
    assert 0 <= wait <= (most if backoff else policy.retry_delay)


class Passing(ConnectionError):
    pass


@pytest.mark.parametrize(
    ("retry_for", "give_up_for", "hopeful"),
    [
        ((), (), True),
        (("OSError",), (), True),
        (("ValueError",), (), False),
        (("ValueError", class_name(Passing)), (), True),
        ((), ("OSError",), False),
        ((class_name(Passing),), ("OSError",), False),
        ((), ("ValueError",), True),
    ],
)
def test_exceptions_are_known_by_their_classes_names(
    retry_for: tuple[str, ...], give_up_for: tuple[str, ...], *, hopeful: bool
) -> None:
    policy = RetryPolicy(retry_for=retry_for, give_up_for=give_up_for)
    kinds = class_names(Passing())
    assert (policy.wait_after(1, kinds) is not None) is hopeful
    # What has no exception, such as the death of the process, is tried again anyway.
    assert policy.wait_after(1) is not None


def test_pythons_own_go_by_their_bare_names() -> None:
    assert class_names(Passing())[1:] == (
        "ConnectionError",
        "OSError",
        "Exception",
        "BaseException",
    )
    assert class_name(Passing).endswith("test_retry.Passing")
