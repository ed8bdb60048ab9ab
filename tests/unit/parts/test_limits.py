"""Time limits by timer signal leave nothing behind."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from breakbulk.errors import UnsupportedPool
from breakbulk.parts.limits import limited
from tests.support.waiting import SLACK


def long() -> None:
    """Work until somebody ends it."""
    time.sleep(60)  # cut short by the limit


def test_none_means_none() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with limited(None, 0, "t") as limits:
        assert signal.getsignal(signal.SIGALRM) is before
    assert limits.fired is None


def test_the_soft_one_comes_first_and_the_hard_one_after_it() -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded), limited(0.5, 1.0, "t") as limits:  # noqa: PT012
        with pytest.raises(SoftTimeLimitExceeded):
            long()
        assert limits.fired == 0.5
        long()
    assert limits.fired == 1.0
    assert 1.0 <= time.monotonic() - began < SLACK


@pytest.mark.parametrize(("soft", "hard"), [(None, 0.05), (0.2, 0.05)])
def test_a_hard_one_alone(soft: float | None, hard: float) -> None:
    with pytest.raises(TimeLimitExceeded), limited(soft, hard, "t"):
        long()


def test_a_hard_one_that_is_swallowed_is_raised_again() -> None:
    swallowed = 0
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeLimitExceeded), limited(None, 0.5, "t"):  # noqa: PT012
        try:
            long()
        except Exception:  # noqa: BLE001  (as in a loop that goes on with the next row)
            swallowed += 1
        long()
    assert swallowed == 1
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_handler_and_the_timer_are_as_before() -> None:
    rung: list[int] = []
    own = lambda *_: rung.append(1)  # noqa: E731
    before = signal.signal(signal.SIGALRM, own)
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        with limited(30, None, "t"):
            pass
        assert signal.getsignal(signal.SIGALRM) is own
        assert 3500 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600
        with pytest.raises(ValueError, match="mine"), limited(30, 60, "t"):
            raise ValueError("mine")
        assert signal.getsignal(signal.SIGALRM) is own
        with pytest.raises(SoftTimeLimitExceeded), limited(0.05, None, "t"):
            long()
        assert signal.getsignal(signal.SIGALRM) is own
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 3500
        assert rung == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_alarm_comes_afterwards() -> None:
    with limited(30, 60, "t"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_thread_is_refused() -> None:
    told: list[str] = []

    def work() -> None:
        try:
            with limited(1, None, "team.add"):
                pass
        except UnsupportedPool as refused:
            told.append(str(refused))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(told) == 1
    assert told[0].startswith(
        "team.add has a time limit, which cannot be kept in a pool of threads"
    )
