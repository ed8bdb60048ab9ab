"""Whatever a receiver does, it takes little of the time and the memory there is for others."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from breakbulk.domain.address import Allowed
from breakbulk.ledger.sql import clock
from breakbulk.runner import post
from breakbulk.runner.guard import Guard
from breakbulk.runner.outbox_thread import OutboxThread
from tests.support.posting import Post
from tests.support.receiver import Receiver, Reply, receiver
from tests.support.waiting import SLACK, wait_for
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_one_that_hangs_does_not_keep_the_others_waiting(
    yard: Yard, outside: Receiver, sends: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    # They hang for as long as this takes, on any machine.
    monkeypatch.setattr(post, "post", partial(post.post, seconds=600.0))
    with ExitStack() as stack:
        stack.callback(go_on.set)
        for _ in range(3):
            hangs = stack.enter_context(receiver())
            hangs.reply = lambda _message: Reply() if go_on.wait(600) else Reply(500)
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
        # What has arrived is written down a moment later.
        wait_for(
            lambda: len(yard.rows_of("deliveries", "owner IS NOT NULL")) == 3,
            message="one delivery each to be in hand",
        )
        go_on.set()
        sends.clear()


@pytest.mark.parametrize("how", ["says nothing", "drips"])
def test_a_try_has_one_deadline_for_all_of_it(yard: Yard, outside: Receiver, how: str) -> None:
    over = threading.Event()

    def by_hand(file: Any) -> None:
        if how == "says nothing":
            over.wait(120)
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
    assert took < SLACK


@pytest.fixture
def hung_look_ups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that never answers for ``*.hangs.test``; the names that it was asked for."""
    over = threading.Event()
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def hang(host: str, port: int, *args: Any, **more: Any) -> Any:
        if str(host).endswith(".hangs.test"):
            asked.append(host)
            over.wait(120)
            raise socket.gaierror("nobody knows")
        return look_up(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    over.set()


def test_the_deadline_covers_the_look_up(
    yard: Yard, outside: Receiver, hung_look_ups: list[str]
) -> None:
    began = time.monotonic()
    answers = [_post(yard, outside, seconds=0.5, host="one.hangs.test") for _ in range(3)]
    assert time.monotonic() - began < SLACK
    errors = {one.error or "" for one in answers}
    assert len(errors) == 1
    assert errors.pop().startswith("The address of one.hangs.test was not to be had in time: see")
    assert hung_look_ups == ["one.hangs.test"], "whoever asks again waits for the same thread"
    assert _post(yard, outside).delivered


def test_names_that_hang_do_not_keep_the_others_waiting(
    yard: Yard,
    outside: Receiver,
    sends: Post,
    hung_look_ups: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(post, "post", partial(post.post, seconds=0.5))
    endpoints = yard.ledger.database.schema.endpoints
    for number in range(10):
        hangs = yard.bulk.webhooks.add(outside.url, events=["run.submitted"]).endpoint
        with yard.transaction() as connection:
            connection.execute(
                update(endpoints)
                .where(endpoints.c.id == hangs.id)
                .values(url=f"https://{number}.hangs.test/in")
            )
    well = yard.bulk.webhooks.add(outside.url)
    yard.run()

    def arrived() -> bool:
        sends.tick()
        return len(outside.received) == 2

    # More of them than there are places: each is given up within the deadline and comes last then.
    wait_for(arrived, message="the other one to be told")
    assert outside.events(well.secret) == ["run.submitted", "run.succeeded"]
    sends.clear()
    tried = [yard.bulk.webhooks.delivery(one.id) for one in yard.bulk.webhooks.deliveries()]
    errors = {one.error for log in tried for one in log.tries if one.error}
    assert all("was not to be had in time" in one for one in errors)
    assert len(errors) == 10


def test_a_shutdown_does_not_wait_for_a_name(
    yard: Yard, outside: Receiver, hung_look_ups: list[str]
) -> None:
    endpoints = yard.ledger.database.schema.endpoints
    yard.bulk.webhooks.add(outside.url)
    with yard.transaction() as connection:
        connection.execute(update(endpoints).values(url="https://one.hangs.test/in"))
    yard.submit(yard.job())
    thread = OutboxThread(yard.runtime, lambda: True, lambda *_: None)
    thread.start()
    wait_for(lambda: hung_look_ups, message="the look-up to hang")
    began = time.monotonic()
    thread.stop()
    assert time.monotonic() - began < SLACK, "three seconds for what may still come back"
    assert not [one for one in threading.enumerate() if one.name == "breakbulk-outbox"]


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


def _post(yard: Yard, outside: Receiver, seconds: float = 15.0, host: str = "127.0.0.1") -> Any:
    with yard.reading() as connection:
        now = connection.execute(select(clock())).scalar_one()
    return post.post(
        Guard(Allowed.parse("127.0.0.1")),
        outside.url.replace("127.0.0.1", host),
        ["whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="],
        message_id="msg_1",
        now=now,
        payload="{}",
        seconds=seconds,
    )
