"""Events from the ledger to a real receiver: written once, sent at least once, and bounded."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from breakbulk import Breakbulk, CancelRun, RunStatus
from breakbulk.app.webhooks import Webhooks
from breakbulk.domain.address import Allowed
from breakbulk.domain.webhook import FAILS_AT_MOST, RETRY_TABLE, DeliveryStatus
from breakbulk.errors import (
    ConfigurationError,
    EndpointRefused,
    StateError,
    UnknownJob,
    WebhookNotFound,
)
from breakbulk.ledger.sql import clock
from breakbulk.runner import post
from breakbulk.runner.guard import Guard
from breakbulk.runner.sending import Sender
from breakbulk.runner.vault import Vault
from tests.support.receiver import Receiver, Reply, receiver
from tests.support.waiting import wait_for
from tests.support.yard import Yard, failing, statements, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from breakbulk import Chunk

_ROWS = 25


@pytest.fixture
def yard(clean_engine: Engine) -> Iterator[Yard]:
    """A yard that may post to this machine."""
    yard = Yard(clean_engine, rows=_ROWS, shared=True, webhook_allow="127.0.0.1 hooks.test")
    yield yard
    yard.close()


@pytest.fixture
def outside() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@dataclass
class Post:
    """The leader's sender, in this process, and the links that it has sent."""

    yard: Yard
    sent: list[tuple[str, int, str]] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self.sender = Sender(self.yard.runtime, self._link)

    def _link(self, signature: str, run_id: int, task_id: str) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")
        self.sent.append((json.loads(signature)["task"], run_id, task_id))

    def tick(self) -> None:
        with self.yard.runtime.database.connect() as connection:
            self.sender.tick(connection)

    def clear(self) -> None:
        """Send all that is due, and write down what comes back."""
        self.tick()

        def over() -> bool:
            self.tick()
            return not self.sender.busy

        wait_for(over, message="everything to be sent")


@pytest.fixture
def sends(yard: Yard) -> Post:
    return Post(yard)


def hasten(yard: Yard) -> None:
    """Let the time pass until everything is due."""
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(update(schema.endpoints).values(rests_until=None))
        connection.execute(
            update(schema.deliveries)
            .where(schema.deliveries.c.ended_at.is_(None))
            .values(not_before=clock(-1))
        )


def events(yard: Yard) -> list[str]:
    return [row["type"] for row in yard.rows_of("events")]


def bad(chunk: Chunk[Any]) -> None:
    """Two rows that always fail."""
    touch(chunk)
    chunk.session.flush()
    if {key[0] for key in chunk.row_keys} & {7, 17}:
        raise ValueError("a secret of row 7")


def cancelling(_chunk: Chunk[Any]) -> None:
    raise CancelRun("no more")


def breaking(_run: Any) -> None:
    raise ValueError("no mail today")


# What is written


def test_a_run_from_its_submit_to_its_end(yard: Yard, outside: Receiver, sends: Post) -> None:
    registered = yard.bulk.webhooks.add(outside.url + "?a=b", by="ana")
    run = yard.run()
    sends.clear()
    submitted, succeeded = (one.verified(registered.secret) for one in outside.received)
    record = run.record()
    assert submitted["type"] == "run.submitted"
    assert submitted["data"] == {
        "run": run.id,
        "job": record.job,
        "status": "running",
        "reason": None,
        "round": 1,
        "summary": None,
        "submitted_at": submitted["data"]["submitted_at"],
        "submitted_by": record.submitted_by,
        "started_at": None,
        "finished_at": None,
    }
    assert succeeded["type"] == "run.succeeded"
    assert record.summary is not None
    assert succeeded["data"]["summary"] == record.summary.as_dict()
    assert succeeded["timestamp"].endswith("Z")
    first = outside.received[0]
    assert first.path == "/in?a=b"
    assert first.headers["content-type"] == "application/json"
    assert len({one.id for one in outside.received}) == 2
    assert [one.status for one in yard.bulk.webhooks.deliveries()] == [DeliveryStatus.DELIVERED] * 2


def test_every_way_to_stand_still_or_to_end(yard: Yard, outside: Receiver, sends: Post) -> None:
    registered = yard.bulk.webhooks.add(outside.url)
    yard.run(bad, max_retries=0)
    yard.run(cancelling)
    yard.run(finished=breaking, max_retries=0)
    yard.run(failing(99, 1), on_failure="stop", max_retries=0)
    paused = yard.submit(yard.job())
    paused.pause()
    yard.settle(paused)
    held = yard.submit(yard.job())
    with yard.transaction() as connection:
        yard.ledger.runs.move(
            connection, held.id, RunStatus.HELD, actor="lane", reason="disk full " * 200
        )
    sends.clear()
    told = outside.events(registered.secret)
    assert [one for one in told if one != "run.submitted"] == [
        "rows.quarantined",
        "run.partial",
        "run.cancelled",
        "run.failed",
        "run.failed",
        "run.paused",
        "run.held",
    ]
    messages = [one.verified(registered.secret)["data"] for one in outside.received]
    assert next(one for one in messages if "quarantined" in one)["quarantined"] == 2
    assert max(len(one["reason"] or "") for one in messages) < 510
    assert max(len(one.body) for one in outside.received) < 2_000


def test_rows_in_quarantine_are_told_once_a_round(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    registered = yard.bulk.webhooks.add(outside.url, events=["rows.quarantined"])
    run = yard.run(bad, max_retries=0)
    run.retry()
    yard.settle(run)
    sends.clear()
    told = [one.verified(registered.secret)["data"] for one in outside.received]
    assert [(one["round"], one["quarantined"]) for one in told] == [(1, 2), (2, 2)]


def test_parameters_are_not_told(yard: Yard, outside: Receiver, sends: Post) -> None:
    yard.bulk.webhooks.add(outside.url)
    yard.settle(yard.bulk.submit(yard.job()(tag="hush")))
    sends.clear()
    assert len(outside.received) == 2
    assert "hush" not in "".join(one.body for one in outside.received)


def test_only_what_is_asked_for(yard: Yard, outside: Receiver, sends: Post) -> None:
    mine, other = yard.job(), yard.job()
    one = yard.bulk.webhooks.add(outside.url, job=mine)
    two = yard.bulk.webhooks.add(outside.url, job=other.__name__, events=["run.succeeded"])
    off = yard.bulk.webhooks.add(outside.url)
    yard.bulk.webhooks.disable(off.endpoint.id)
    yard.settle(yard.submit(mine), yard.submit(other))
    sends.clear()
    by_endpoint = {
        endpoint.endpoint.id: [
            log.event for log in yard.bulk.webhooks.deliveries(endpoint=endpoint.endpoint.id)
        ]
        for endpoint in (one, two, off)
    }
    assert by_endpoint == {
        one.endpoint.id: ["run.succeeded", "run.submitted"],
        two.endpoint.id: ["run.succeeded"],
        off.endpoint.id: [],
    }
    with pytest.raises(UnknownJob):
        yard.bulk.webhooks.add(outside.url, job="nonsense")
    with pytest.raises(EndpointRefused, match=r"no event 'run.started'; there are run.submitted,"):
        yard.bulk.webhooks.add(outside.url, events=["run.started"])


def test_nobody_who_listens_costs_nothing(yard: Yard) -> None:
    with statements(yard.engine) as seen:
        yard.run(bad, max_retries=0)
    ours = re.compile(r"\bbreakbulk[._](events|deliveries|links|tries|endpoints)\b")
    runs = re.compile(r"(UPDATE|INSERT INTO) breakbulk[._]runs\b")
    # Whether somebody listens is told by the statements that there were before.
    about = [one for one in seen if ours.search(one)]
    assert len(about) >= 3
    assert [one for one in about if not runs.match(one)] == []
    assert not events(yard)


def test_an_event_is_rolled_back_with_what_it_tells_of(yard: Yard, outside: Receiver) -> None:
    yard.bulk.webhooks.add(outside.url)
    with Session(yard.engine) as session:
        yard.bulk.submit(yard.job()(), session=session)
        session.rollback()
    assert not events(yard)
    run = yard.submit(yard.job(finished=breaking, max_retries=1))
    yard.first_crew.work()
    assert run.status() is not RunStatus.SUCCEEDED
    assert "run.succeeded" not in events(yard), "its callback was rolled back"


# How it is sent


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


def test_one_that_hangs_does_not_keep_the_others_waiting(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with ExitStack() as stack:
        stack.callback(go_on.set)
        for _ in range(3):
            hangs = stack.enter_context(receiver())
            hangs.reply = lambda _message: Reply() if go_on.wait(60) else Reply(500)
            yard.bulk.webhooks.add(hangs.url)
        well = yard.bulk.webhooks.add(outside.url)
        yard.run()
        sends.tick()

        def arrived() -> bool:
            sends.tick()
            return len(outside.received) == 2

        wait_for(arrived, message="the others to be told")
        assert sends.sender.busy
        assert outside.events(well.secret) == ["run.submitted", "run.succeeded"]
        # Of each one that hangs, one message at a time.
        assert len(yard.rows_of("deliveries", "owner IS NOT NULL")) == 3
        go_on.set()
        sends.clear()


@pytest.mark.parametrize("how", ["says nothing", "drips"])
def test_a_try_has_one_deadline_for_all_of_it(yard: Yard, outside: Receiver, how: str) -> None:
    over = threading.Event()

    def by_hand(file: Any) -> None:
        if how == "says nothing":
            over.wait(60)
            return
        file.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not over.wait(0.05):
            file.write(b".")
            file.flush()

    outside.by_hand = by_hand
    began = time.monotonic()
    answer = _post(yard, outside, seconds=1.0)
    took = time.monotonic() - began
    over.set()
    assert answer.error == "no answer within 1 s"
    assert not answer.delivered
    assert took < 10


def test_of_an_answer_without_an_end_only_the_beginning_is_read(
    yard: Yard, outside: Receiver
) -> None:
    def by_hand(file: Any) -> None:
        file.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            file.write(b"x" * 65_536)

    outside.by_hand = by_hand
    answer = _post(yard, outside)
    assert answer.delivered
    assert answer.text == "x" * 2_000


def _post(yard: Yard, outside: Receiver, seconds: float = 15.0) -> Any:
    with yard.reading() as connection:
        now = connection.execute(select(clock())).scalar_one()
    return post.post(
        Guard(Allowed.parse("127.0.0.1")),
        outside.url,
        ["whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="],
        message_id="msg_1",
        now=now,
        payload="{}",
        seconds=seconds,
    )


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


def test_a_name_that_means_something_else_by_now(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was public when it was registered may be inside when it is connected to."""
    asked: list[str] = []
    lies = ["1.1.1.1"]

    def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (lies[0], port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    plain = Yard(yard.engine, shared=True)
    registered = plain.bulk.webhooks.add(f"https://evil.test:{outside.port}/in")
    lies[0] = "127.0.0.1"
    plain.submit(plain.job())
    mine = Post(plain)
    mine.clear()
    assert not outside.received
    (log,) = (plain.bulk.webhooks.delivery(one.id) for one in plain.bulk.webhooks.deliveries())
    assert log.tries[0].error is not None
    assert "127.0.0.1, which is not a public address" in log.tries[0].error
    assert "not a public address" in (plain.bulk.webhooks.test(registered.endpoint.id).error or "")
    assert set(asked) == {"evil.test"}
    plain.close()


def test_what_is_connected_to_is_what_was_looked_at(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is asked for once; whatever it would mean the next time is nobody's business."""
    given = iter([["127.0.0.1"], ["127.0.0.1"], ["10.66.66.66"]])
    looked_up = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host != "hooks.test":
            return looked_up(host, port, *args, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(given)]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    yard.bulk.webhooks.add(f"http://hooks.test:{outside.port}/in", events=["run.submitted"])
    yard.submit(yard.job())
    sends.clear()
    assert len(outside.received) == 1
    assert outside.received[0].headers["host"] == f"hooks.test:{outside.port}"
    assert next(given) == ["10.66.66.66"], "not asked for again"


def test_no_proxy_of_the_environment_is_asked(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        yard.bulk.webhooks.add(outside.url, events=["run.submitted"])
        yard.submit(yard.job())
        sends.clear()
        assert not proxy.received
    assert len(outside.received) == 1


# What an operator does


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


def test_an_endpoint_inside_is_refused(yard: Yard) -> None:
    bulk = Breakbulk(yard.engine)
    for url in ("https://127.0.0.1/", "https://localhost/", "https://[::1]/", "http://10.0.0.1/"):
        with pytest.raises(EndpointRefused, match="which is not a public address"):
            bulk.webhooks.add(url)
    assert not yard.rows_of("endpoints")
