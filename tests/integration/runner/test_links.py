"""Celery signatures that are sent when a run ends, from the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from celery import chain, group
from celery import signature as signature_of
from kombu.utils.json import dumps, loads
from sqlalchemy import update

from breakbulk.domain.webhook import DeliveryStatus
from breakbulk.errors import ConfigurationError
from breakbulk.ledger.sql import clock
from breakbulk.runner.sending import Sender
from tests.support.waiting import wait_for
from tests.support.yard import failing, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk
    from tests.support.yard import Yard


class Tasks:
    """The team's tasks, and what they were called with."""

    def __init__(self, yard: Yard) -> None:
        self.called: list[tuple[Any, ...]] = []
        app = yard.celery

        @app.task(name="team.told", bind=True, shared=False)
        def told(task: Any, *args: Any) -> int:
            self.called.append((task.request.id, *args))
            return 7

        self.told = told
        self._yard = yard
        self._sender = Sender(yard.runtime, self._send)
        self.broken: list[Exception] = []

    def _send(self, signature: str, run_id: int, task_id: str) -> None:
        if self.broken:
            raise self.broken.pop()
        app = self._yard.celery
        app.conf.task_always_eager = True
        try:
            assert self._yard.bulk.broker is not None
            self._yard.bulk.broker.send_link(signature, run_id, task_id)
        finally:
            app.conf.task_always_eager = False

    def clear(self) -> None:
        def over() -> bool:
            with self._yard.runtime.database.connect() as connection:
                self._sender.tick(connection)
            return not self._sender.busy

        over()
        wait_for(over, message="the links to be sent")

    def again(self) -> None:
        deliveries = self._yard.ledger.database.schema.deliveries
        with self._yard.transaction() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.ended_at.is_(None))
                .values(not_before=clock(-1))
            )
        self.clear()


@pytest.fixture
def tasks(yard: Yard) -> Tasks:
    return Tasks(yard)


def bad(chunk: Chunk[Any]) -> None:
    touch(chunk)
    chunk.session.flush()
    if 7 in {key[0] for key in chunk.row_keys}:
        raise ValueError("row 7")


def breaking(_run: Any) -> None:
    raise ValueError("no mail today")


@pytest.mark.parametrize(
    ("process", "options", "status", "word"),
    [
        (touch, {}, "succeeded", "good"),
        (bad, {"max_retries": 0}, "partial", "bad"),
        (failing(9, 1), {"max_retries": 0, "on_failure": "stop"}, "failed", "bad"),
        (touch, {"finished": breaking, "max_retries": 0}, "failed", "bad"),
    ],
)
def test_exactly_one_kind_is_sent(
    yard: Yard,
    tasks: Tasks,
    process: Callable[[Any], None],
    options: dict[str, Any],
    status: str,
    word: str,
) -> None:
    run = yard.submit(
        yard.job(process, **options),
        link=tasks.told.s("good"),
        link_error=[tasks.told.s("bad"), tasks.told.si("bad, too")],
    )
    yard.settle(run)
    tasks.clear()
    assert run.status() == status
    expected = [(run.id, "good")] if word == "good" else [(run.id, "bad"), ("bad, too",)]
    assert [call[1:] for call in tasks.called] == expected
    assert {one.status for one in yard.bulk.webhooks.deliveries(run=run.id)} == {
        DeliveryStatus.DELIVERED
    }


def test_cancelled_is_an_error_to_who_goes_on(yard: Yard, tasks: Tasks) -> None:
    run = yard.submit(yard.job(), link=tasks.told.s("good"), link_error=tasks.told.s("bad"))
    run.cancel()
    yard.settle(run)
    tasks.clear()
    assert [call[1:] for call in tasks.called] == [(run.id, "bad")]


def test_each_round_ends_once(yard: Yard, tasks: Tasks) -> None:
    broken = [True]

    def process(chunk: Chunk[Any]) -> None:
        if broken:
            bad(chunk)
        touch(chunk)

    run = yard.submit(
        yard.job(process, max_retries=0), link=tasks.told.s("good"), link_error=tasks.told.s("bad")
    )
    yard.settle(run)
    broken.clear()
    run.retry()
    yard.settle(run)
    tasks.clear()
    assert [call[1:] for call in tasks.called] == [(run.id, "bad"), (run.id, "good")]


def test_a_broker_that_is_away_is_tried_again_under_the_same_id(yard: Yard, tasks: Tasks) -> None:
    yard.settle(yard.submit(yard.job(), link=tasks.told.s()))
    tasks.broken = [ConnectionError("nobody there"), ConnectionError("nobody\nthere")]
    for _ in range(3):
        tasks.again()
    (delivery,) = yard.bulk.webhooks.deliveries()
    log = yard.bulk.webhooks.delivery(delivery.id)
    assert [one.error for one in log.tries] == [
        "ConnectionError: nobody",
        "ConnectionError: nobody there",
        None,
    ]
    assert log.delivery.status is DeliveryStatus.DELIVERED
    assert tasks.called[0][0] == f"{delivery.message_id}-{delivery.id}"
    again = yard.bulk.webhooks.replay(delivery.id)
    tasks.clear()
    assert len(tasks.called) == 2
    assert again.endpoint is None


def test_chains_and_groups(yard: Yard, tasks: Tasks) -> None:
    told = tasks.told
    run = yard.submit(
        yard.job(), link=[chain(told.s("first"), told.s("then")), group(told.s("a"), told.s("b"))]
    )
    yard.settle(run)
    tasks.clear()
    assert [call[1:] for call in tasks.called] == [
        (run.id, "first"),
        (7, "then"),
        (run.id, "a"),
        (run.id, "b"),
    ]


@pytest.mark.parametrize("value", ["team.told", 5, {"a": 1}, lambda: None, [1]])
def test_what_is_no_signature(yard: Yard, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^link=.+ is no Celery signature: give one"):
        yard.submit(yard.job(), link=value)
    assert not yard.rows_of("runs")


def test_what_cannot_be_kept_as_json(yard: Yard, tasks: Tasks) -> None:
    with pytest.raises(ConfigurationError, match="given as link_error cannot be kept as JSON"):
        yard.submit(yard.job(), link_error=tasks.told.s(object()))
    assert not yard.rows_of("runs")


def test_what_json_does_not_know_of_survives(yard: Yard, tasks: Tasks) -> None:
    name = uuid4()
    yard.settle(yard.submit(yard.job(), link=tasks.told.si(name, {"a": [1, None]})))
    tasks.clear()
    assert tasks.called[0][1:] == (name, {"a": [1, None]})


def test_a_submit_that_finds_its_run_adds_none(yard: Yard, tasks: Tasks) -> None:
    job = yard.job()
    for word in ("first", "second"):
        run = yard.submit(job, idempotency_key="one", link=tasks.told.s(word))
    yard.settle(run)
    tasks.clear()
    assert [call[1:] for call in tasks.called] == [(run.id, "first")]


def test_a_signature_that_submits_has_links_of_its_own(yard: Yard, tasks: Tasks) -> None:
    job = yard.job()
    submits = yard.bulk.signature(job(), link=tasks.told.s("good"))
    # As a message has it: a signature is a dictionary by then.
    arrived = signature_of(loads(dumps(submits)), app=yard.celery)
    run = yard.bulk.run(yard.bulk._submit_by_name(*arrived.args) or 0)
    yard.settle(run)
    tasks.clear()
    assert [call[1:] for call in tasks.called] == [(run.id, "good")]


def test_in_eager_mode_they_are_run_here(yard: Yard, tasks: Tasks) -> None:
    yard.celery.conf.task_always_eager = True
    run = yard.submit(yard.job(), link=tasks.told.s("good"), link_error=tasks.told.s("bad"))
    assert run.status() == "succeeded"
    assert [call[1:] for call in tasks.called] == [(run.id, "good")]
