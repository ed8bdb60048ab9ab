"""What an operator does about endpoints and deliveries; no secret is shown twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from breakbulk.app.webhooks import Webhooks
from breakbulk.errors import (
    ConfigurationError,
    StateError,
    WebhookNotFound,
)
from breakbulk.ledger.sql import clock
from breakbulk.runner import post
from breakbulk.runner.vault import Vault
from tests.support.posting import Post, events, hasten
from tests.support.receiver import Receiver
from tests.support.yard import Yard


def test_a_secret_is_shown_once(yard: Yard, outside: Receiver, sends: Post) -> None:
    registered = yard.bulk.webhooks.add(outside.url)
    yard.run()
    sends.clear()
    key = registered.secret
    assert key.startswith("whsec_")
    assert key not in repr(registered)
    assert key not in repr(yard.bulk.webhooks.endpoints())
    assert key not in json.dumps([one.as_dict() for one in yard.bulk.webhooks.endpoints()])
    for one in yard.bulk.webhooks.deliveries():
        assert key not in repr(yard.bulk.webhooks.delivery(one.id))


def test_secrets_are_sealed_where_there_is_a_key(yard: Yard, outside: Receiver) -> None:
    def with_keys(*keys: str) -> Yard:
        made = Yard(yard.engine, shared=True, webhook_allow="127.0.0.1")
        made.bulk.runtime = replace(made.runtime, vault=Vault(keys))
        made.bulk.webhooks = Webhooks(made.runtime)
        return made

    here, elsewhere, without = with_keys("a" * 32), with_keys("b" * 32), with_keys()
    registered = here.bulk.webhooks.add(outside.url, events=["run.submitted"])
    number = registered.endpoint.id
    rotated = here.bulk.webhooks.rotate(number)
    stored = repr(yard.rows_of("endpoints"))
    assert registered.secret not in stored
    assert rotated.secret not in stored
    assert here.bulk.webhooks.test(number).delivered
    assert outside.received[0].verified(registered.secret)["type"] == "ping"
    with pytest.raises(ConfigurationError, match="sealed with another secret_key"):
        elsewhere.bulk.webhooks.test(number)
    here.submit(here.job())
    Post(elsewhere).clear()
    (delivery,) = here.bulk.webhooks.deliveries()
    (tried,) = here.bulk.webhooks.delivery(delivery.id).tries
    assert "another secret_key" in (tried.error or "")
    hasten(here)
    Post(here).clear()
    assert outside.events(rotated.secret) == ["ping", "run.submitted"]
    # Registered when there was no key, it goes on.
    plain = without.bulk.webhooks.add(outside.url)
    assert plain.secret in repr(yard.rows_of("endpoints"))
    assert here.bulk.webhooks.test(plain.endpoint.id).delivered


def test_after_a_rotation_both_secrets_sign_for_a_day(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    old = yard.bulk.webhooks.add(outside.url)
    new = yard.bulk.webhooks.rotate(old.endpoint.id)
    assert new.secret != old.secret
    assert new.endpoint.rotates_until is not None
    assert yard.bulk.webhooks.test(old.endpoint.id).code == 204
    assert outside.received[0].verified(old.secret) == outside.received[0].verified(new.secret)
    assert len(outside.received[0].headers["webhook-signature"].split()) == 2
    endpoints = yard.ledger.database.schema.endpoints
    with yard.transaction() as connection:
        connection.execute(update(endpoints).values(old_secret_until=clock(-1)))
    yard.bulk.webhooks.test(old.endpoint.id)
    assert len(outside.received[1].headers["webhook-signature"].split()) == 1
    assert outside.received[1].verified(new.secret)["type"] == "ping"
    assert yard.bulk.webhooks.endpoint(old.endpoint.id).rotates_until is None


def test_a_replay_is_another_delivery_of_the_same_message(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    endpoint = yard.bulk.webhooks.add(outside.url, events=["run.submitted"]).endpoint
    yard.submit(yard.job())
    (first,) = yard.bulk.webhooks.deliveries()
    with pytest.raises(StateError, match=r"still waits: it is tried again by itself"):
        yard.bulk.webhooks.replay(first.id)
    sends.clear()
    again = yard.bulk.webhooks.replay(first.id)
    assert again.id != first.id
    sends.clear()
    assert len(outside.received) == 2
    assert len({(one.id, one.body) for one in outside.received}) == 1
    yard.bulk.webhooks.disable(endpoint.id, by="ana")
    assert yard.bulk.webhooks.endpoint(endpoint.id).reason == "switched off by ana"
    with pytest.raises(StateError, match=r"is switched off: 'breakbulk webhooks enable 1' first"):
        yard.bulk.webhooks.replay(first.id)


def test_one_that_is_removed_is_gone_with_its_deliveries(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    gone = yard.bulk.webhooks.add(outside.url).endpoint
    stays = yard.bulk.webhooks.add(outside.url).endpoint
    yard.run()
    sends.clear()
    yard.bulk.webhooks.remove(gone.id)
    assert [one.id for one in yard.bulk.webhooks.endpoints()] == [stays.id]
    assert {one.endpoint for one in yard.bulk.webhooks.deliveries()} == {stays.id}
    assert len(yard.rows_of("tries")) == 2
    for act in (yard.bulk.webhooks.remove, yard.bulk.webhooks.enable, yard.bulk.webhooks.rotate):
        with pytest.raises(WebhookNotFound, match=f"There is no endpoint {gone.id}"):
            act(gone.id)
    for number in (0, -1, 99, 2**70):
        with pytest.raises(WebhookNotFound):
            yard.bulk.webhooks.delivery(number)
        with pytest.raises(WebhookNotFound):
            yard.bulk.webhooks.endpoint(number)


def test_deliveries_by_pages(yard: Yard, outside: Receiver) -> None:
    yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
    runs = [yard.submit(yard.job()) for _ in range(5)]
    first = yard.bulk.webhooks.deliveries(limit=3)
    second = yard.bulk.webhooks.deliveries(limit=3, before=first[-1].id)
    assert [one.run for one in first + second] == [run.id for run in reversed(runs)]
    assert [one.run for one in yard.bulk.webhooks.deliveries(run=runs[1].id)] == [runs[1].id]


def test_what_is_old_is_thrown_away(yard: Yard, outside: Receiver, sends: Post) -> None:
    yard.bulk.webhooks.add(outside.url)
    yard.run()
    sends.clear()
    schema = yard.ledger.database.schema
    keep = yard.runtime.settings.webhook_keep_seconds
    with yard.transaction() as connection:
        connection.execute(update(schema.events).values(at=clock(60 - keep)))
    Post(yard).clear()
    assert len(events(yard)) == 2, "not a minute too early"
    with yard.transaction() as connection:
        connection.execute(update(schema.events).values(at=clock(-60 - keep)))
    Post(yard).clear()
    assert not events(yard)
    assert not yard.rows_of("deliveries")
    assert not yard.rows_of("tries")


def test_what_is_refused_is_told_in_sentences(yard: Yard, outside: Receiver, caplog: Any) -> None:
    yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
    yard.submit(yard.job())
    # A worker that was started before the setting was changed.
    elsewhere = Yard(yard.engine, shared=True)
    Post(elsewhere).clear()
    (told,) = [one.getMessage() for one in caplog.records if "again in" in one.getMessage()]
    assert "webhook_allow, of each process that sends, names those that may be; again in" in told
    elsewhere.close()


def test_where_nothing_can_be_posted_nobody_is_promised_anything(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
    yard.submit(yard.job())
    monkeypatch.setattr(post, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'breakbulk\[webhooks\]'"):
        yard.bulk.webhooks.add(outside.url)
    with pytest.raises(ConfigurationError, match="two more packages"):
        yard.bulk.webhooks.test(1)
    sends.tick()
    sends.tick()
    assert caplog.text.count("this worker cannot post them") == 1
    assert yard.rows_of("deliveries")[0]["tries"] == 0
    monkeypatch.undo()
    sends.clear()
    assert len(outside.received) == 1
