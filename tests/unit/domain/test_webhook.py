"""When a delivery is tried again, and what is told of an endpoint."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from breakbulk.domain.webhook import (
    RETRY_TABLE,
    Answer,
    Endpoint,
    link_wait_after,
    new_message_id,
    new_secret,
    rest_after,
    wait_after,
)


def answered(code: int | None, retry_after: float | None = None) -> Answer:
    return Answer(5, code=code, retry_after=retry_after)


def test_the_table_is_the_specifications() -> None:
    hours = 3_600
    assert (5, 300, 1_800, *(h * hours for h in (2, 5, 10, 14, 20, 24))) == RETRY_TABLE
    for tries, seconds in enumerate(RETRY_TABLE, 1):
        waits = {wait_after(tries, answered(500)) for _ in range(50)}
        assert all(wait is not None and seconds <= wait <= seconds * 1.1 for wait in waits)
        assert len(waits) > 1, "what failed together is not tried together"
    assert wait_after(len(RETRY_TABLE) + 1, answered(500)) is None


@pytest.mark.parametrize(
    ("answer", "delivered"),
    [
        (answered(200), True),
        (answered(204), True),
        (answered(299), True),
        (answered(300), False),
        (answered(302), False),
        (answered(404), False),
        (answered(500), False),
        (Answer(5, error="cannot connect"), False),
        (Answer(5, code=302, error="redirects are not followed"), False),
    ],
)
def test_delivered_is_2xx(answer: Answer, delivered: bool) -> None:
    assert answer.delivered is delivered


def test_whoever_is_gone_is_not_tried_again() -> None:
    assert answered(410).gone
    assert wait_after(1, answered(410)) is None


@pytest.mark.parametrize(
    ("code", "asked", "least", "most"),
    [
        (429, 60, 60, 60),
        (503, 60, 60, 60),
        (500, 60, 5, 5.5),
        (429, 0, 5, 5.5),
        (429, -5, 5, 5.5),
        (429, None, 5, 5.5),
        (503, 10**9, 86_400, 86_400),
    ],
)
def test_a_receiver_may_ask_for_time(
    code: int, asked: float | None, least: float, most: float
) -> None:
    wait = wait_after(1, answered(code, asked))
    assert wait is not None
    assert least <= wait <= most


def test_an_endpoint_that_fails_is_left_alone_for_longer_and_longer() -> None:
    rests = [rest_after(failures, answered(500)) for failures in range(1, 9)]
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]
    assert rest_after(10**6, answered(500)) == 300
    assert rest_after(1, answered(429, 1_000)) == 1_000


def test_a_link_is_tried_for_days() -> None:
    assert [link_wait_after(tries) for tries in (1, 2, 3, 50)] == [5, 10, 20, 300]
    assert link_wait_after(2_000) is None


def test_secrets_are_as_the_specification_says() -> None:
    secret = new_secret()
    kind, _, key = secret.partition("_")
    assert kind == "whsec"
    assert 24 <= len(base64.b64decode(key, validate=True)) <= 64
    assert new_secret() != secret
    assert new_message_id() != new_message_id()


def test_what_may_be_secret_of_a_url_is_not_its_place() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    endpoint = Endpoint(
        id=1,
        url="https://hooks.example:8443/T123/secret?key=hush",
        job=None,
        events=(),
        enabled=True,
        reason=None,
        failures=0,
        failing_since=None,
        rests_until=None,
        rotates_until=None,
        created_at=now,
        created_by=None,
    )
    assert endpoint.place == "https://hooks.example:8443"
    assert endpoint.as_dict()["created_at"] == "2026-01-01T00:00:00+00:00"
