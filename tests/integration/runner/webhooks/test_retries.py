"""Events are sent at least once: again after failures, by a table that ends."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, update

from breakbulk.domain.webhook import FAILS_AT_MOST, RETRY_TABLE, DeliveryStatus
from breakbulk.ledger.sql import clock
from tests.support.posting import Post, events, hasten
from tests.support.receiver import Receiver, Reply
from tests.support.waiting import wait_for
from tests.support.yard import Yard, together


def test_a_receiver_that_fails_is_tried_again_under_the_same_id(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    registered = yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
    answers = iter([Reply(500, body=b"x" * 5_000), Reply(302, {"location": outside.url}), Reply()])
    outside.reply = lambda _message: next(answers)
    yard.submit(yard.job())
    for _ in range(3):
        hasten(yard)
        sends.clear()
    assert len({one.id for one in outside.received}) == 1
    assert len(outside.received) == 3, "a redirect is not followed"
    assert outside.events(registered.secret) == ["run.submitted"] * 3
    (delivery,) = yard.bulk.webhooks.deliveries()
    log = yard.bulk.webhooks.delivery(delivery.id)
    assert (log.delivery.status, log.delivery.tries) == (DeliveryStatus.DELIVERED, 3)
    assert [one.code for one in log.tries] == [500, 302, 204]
    assert log.tries[1].error == "redirects are not followed"
    assert all(len(one.answer or "") < 600 for one in log.tries)
    assert json.loads(log.payload)["type"] == "run.submitted"
    assert yard.bulk.webhooks.endpoint(registered.endpoint.id).failing_since is None


def test_the_table_is_kept_to_and_ends(yard: Yard, outside: Receiver, sends: Post) -> None:
    endpoint = yard.bulk.webhooks.add(outside.url, events=["run.submitted"]).endpoint
    outside.reply = lambda _message: Reply(500)
    yard.submit(yard.job())
    for seconds in RETRY_TABLE:
        hasten(yard)
        sends.clear()
        (row,) = yard.rows_of("deliveries")
        with yard.reading() as connection:
            now = connection.execute(select(clock())).scalar_one()
        wait = (row["not_before"] - now).total_seconds()
        assert seconds - 60 < wait <= seconds * 1.1
    hasten(yard)
    sends.clear()
    (delivery,) = yard.bulk.webhooks.deliveries()
    assert (delivery.status, delivery.tries) == (DeliveryStatus.FAILED, len(RETRY_TABLE) + 1)
    assert yard.bulk.webhooks.endpoint(endpoint.id).failures == len(RETRY_TABLE) + 1


def test_a_receiver_that_asks_for_time_is_given_it(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    endpoint = yard.bulk.webhooks.add(outside.url).endpoint
    outside.reply = lambda _message: Reply(429, {"retry-after": "1800"})
    yard.run()
    sends.clear()
    assert len(outside.received) == 1, "nor is it sent anything else"
    rests = yard.bulk.webhooks.endpoint(endpoint.id).rests_until
    with yard.reading() as connection:
        now = connection.execute(select(clock())).scalar_one()
    assert rests is not None
    assert 1_700 < (rests - now).total_seconds() <= 1_800


@pytest.mark.parametrize(
    "said", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "soon", "-5", "1e9"]
)
def test_what_a_receiver_says_of_time_may_be_nonsense(
    yard: Yard, outside: Receiver, sends: Post, said: str
) -> None:
    yard.bulk.webhooks.add(outside.url)
    outside.reply = lambda _message: Reply(503, {"retry-after": said})
    yard.run()
    sends.clear()
    first = min(yard.bulk.webhooks.deliveries(), key=lambda one: one.id)
    assert (first.status, first.tries) == (DeliveryStatus.WAITING, 1)


def test_a_try_that_breaks_is_noted_and_keeps_nobody_waiting(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.bulk.webhooks.add(outside.url)

    def broken(*_: object, **__: object) -> None:
        raise ImportError("a library that is only half there")

    monkeypatch.setattr("breakbulk.runner.post.post", broken)
    yard.run()
    sends.clear()
    first = min(yard.bulk.webhooks.deliveries(), key=lambda one: one.id)
    assert [one.error for one in yard.bulk.webhooks.delivery(first.id).tries] == ["ImportError"]


def test_one_that_is_gone_is_switched_off(yard: Yard, outside: Receiver, sends: Post) -> None:
    endpoint = yard.bulk.webhooks.add(outside.url).endpoint
    outside.reply = lambda _message: Reply(410)
    yard.run()
    sends.clear()
    seen = yard.bulk.webhooks.endpoint(endpoint.id)
    assert not seen.enabled
    assert seen.reason == "the receiver answered 410 Gone: it wants no more"
    assert len(outside.received) == 1
    yard.run()
    assert len(events(yard)) == 2, "nothing is written for it any more"


def test_one_that_has_failed_for_days_is_switched_off(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    endpoint = yard.bulk.webhooks.add(outside.url, events=["run.submitted"]).endpoint
    outside.reply = lambda _message: Reply(500)
    yard.submit(yard.job())
    sends.clear()
    assert yard.bulk.webhooks.endpoint(endpoint.id).enabled
    endpoints = yard.ledger.database.schema.endpoints
    with yard.transaction() as connection:
        connection.execute(update(endpoints).values(failing_since=clock(-FAILS_AT_MOST - 60)))
    hasten(yard)
    sends.clear()
    seen = yard.bulk.webhooks.endpoint(endpoint.id)
    assert not seen.enabled
    assert seen.reason == "every try has failed for 5 days; the last one: it answered 500"
    # Whoever switches it on again finds what has waited, and a clean slate.
    outside.reply = lambda _message: Reply()
    yard.bulk.webhooks.enable(endpoint.id)
    hasten(yard)
    sends.clear()
    seen = yard.bulk.webhooks.endpoint(endpoint.id)
    assert (seen.enabled, seen.reason, seen.failures, seen.failing_since) == (True, None, 0, None)
    assert yard.bulk.webhooks.deliveries()[0].status is DeliveryStatus.DELIVERED


def test_a_sender_that_died_lets_it_be_sent_again(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
    yard.submit(yard.job())
    sends.tick()
    wait_for(lambda: outside.received, message="it to arrive")
    # Nobody has written down that it did, and others leave it alone as long as the claim runs.
    other = Post(yard)
    other.clear()
    assert len(outside.received) == 1
    hasten(yard)
    other.clear()
    assert len(outside.received) == 2
    assert len({one.id for one in outside.received}) == 1
    # Whoever comes back late has lost it.
    before = yard.rows_of("tries")
    sends.clear()
    assert yard.rows_of("tries") == before
    assert len(before) == 1


def test_of_two_who_claim_at_once_one_has_it(yard: Yard, outside: Receiver) -> None:
    """Both have seen that it is due."""
    number = yard.bulk.webhooks.add(outside.url, events=["run.submitted"]).endpoint.id
    yard.submit(yard.job())

    def claim() -> object:
        with yard.transaction() as connection:
            return yard.ledger.deliveries.claim(connection, number, 60.0)

    orders = together(claim, claim, claim)
    assert len([order for order in orders if order is not None]) == 1, orders
    assert yard.rows_of("deliveries")[0]["tries"] == 1


def test_two_leaders_at_once_do_not_send_double(yard: Yard, outside: Receiver) -> None:
    yard.bulk.webhooks.add(outside.url)
    for _ in range(4):
        yard.submit(yard.job())
    crews = [Post(yard) for _ in range(2)]

    def over() -> bool:
        for one in crews:
            one.tick()
        return not any(one.sender.busy for one in crews) and not yard.rows_of(
            "deliveries", "ended_at IS NULL"
        )

    wait_for(over, message="everything to be sent")
    assert len(outside.received) == len({one.id for one in outside.received}) == 4
