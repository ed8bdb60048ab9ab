from __future__ import annotations

import inspect
from typing import Any

import pytest

from breakbulk.domain.failing import OnFailure
from breakbulk.domain.options import JobOptions, Options
from breakbulk.errors import DeclarationError


def test_the_defaults_are_those_that_are_documented() -> None:
    options = Options.checked("Count")
    retry = options.policy.retry
    assert (options.chunk_size, options.max_lanes, options.queue, options.name) == (
        500,
        None,
        None,
        None,
    )
    assert (retry.max_retries, retry.retry_delay) == (5, 60)
    assert (retry.retry_backoff, retry.retry_backoff_max, retry.retry_jitter) == (0, 600, True)
    assert options.policy.on_failure is OnFailure.ISOLATE
    assert str(options.policy.tolerate) == "1000"
    documented = inspect.getdoc(JobOptions) or ""
    assert all(f"\n    {name}: " in documented for name in JobOptions.__annotations__)


def test_celerys_words_mean_what_they_mean_there() -> None:
    policy = Options.checked("Count", retry_backoff=True, retry_for=OSError).policy
    assert policy.retry.retry_backoff == 1
    assert policy.retry.retry_for == ("OSError",)
    policy = Options.checked("Count", give_up_for=[KeyError, ValueError]).policy
    assert policy.retry.give_up_for == ("KeyError", "ValueError")


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"chunk_size": 0}, "a whole number from 1 up, or 'auto'"),
        ({"chunk_size": True}, "a whole number from 1 up, or 'auto'"),
        ({"max_retries": -1}, "a whole number from 0 up"),
        ({"max_lanes": 0}, "a whole number from 1 up"),
        ({"retry_delay": -1}, "seconds from 0 up"),
        ({"retry_delay": "60"}, "seconds from 0 up"),
        ({"retry_backoff_max": float("inf")}, "seconds from 0 up"),
        ({"retry_backoff": -1}, "True, False or seconds from 0 up"),
        ({"retry_jitter": 1}, "True or False"),
        ({"retry_for": "OSError"}, "an exception class or several"),
        ({"retry_for": 5}, "an exception class or several"),
        ({"give_up_for": (OSError, "ValueError")}, "an exception class or several"),
        ({"on_failure": "ignore"}, "one of 'isolate', 'skip', 'stop'"),
        ({"tolerate": "5"}, "a number of rows, or per cent of them"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_sentence(given: Any, right: str) -> None:
    (word,) = given
    with pytest.raises(DeclarationError, match=rf"The job Count has {word}=.*: it must be {right}"):
        Options.checked("Count", **given)


def test_an_option_that_there_is_not() -> None:
    given: Any = {"retries": 5}
    with pytest.raises(DeclarationError, match="unknown option 'retries'; known are name, chunk_s"):
        Options.checked("Count", **given)
