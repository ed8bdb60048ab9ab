"""Events reach the outside from real workers, whatever dies on the way."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from breakbulk.domain.webhook import DeliveryStatus
from breakbulk.embedded import EmbeddedValkey
from breakbulk.ledger.sql import clock
from tests.support.failpoints import Failpoint
from tests.support.receiver import Receiver, receiver
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Stage
    from tests.support.stages import Stages

_JOB = {"chunk_size": 50, "retry_delay": 0}
_KNOBS = {"webhook_allow": "127.0.0.1"}
#: What the sender says of a receiver that is away, and Celery of a broker that is.
_AWAY = ("did not reach endpoint", "did not reach a link", "Cannot connect", "Connection to broker")


def hasten(stage: Stage) -> None:
    """Let the time pass until everything is due."""
    schema = stage.bulk.runtime.database.schema
    with stage.bulk.runtime.database.transaction() as connection:
        connection.execute(update(schema.endpoints).values(rests_until=None))
        connection.execute(
            update(schema.deliveries)
            .where(schema.deliveries.c.ended_at.is_(None))
            .values(not_before=clock(-1))
        )


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
@pytest.mark.parametrize(
    "pool",
    ["prefork", *(pytest.param(one, marks=pytest.mark.thorough) for one in ("threads", "solo"))],
)
def test_a_run_is_told_of(
    request: pytest.FixtureRequest, valkey_url: str, set_stage: Stages, database: str, pool: str
) -> None:
    stage = set_stage(
        request.getfixturevalue(f"{database}_url"), valkey_url, job=_JOB, knobs=_KNOBS
    )
    stage.fill(200)
    with receiver() as outside:
        registered = stage.bulk.webhooks.add(outside.url)
        stage.worker(pool=pool, concurrency=1 if pool == "solo" else 2)
        run = stage.submit()
        stage.until_succeeded(run)
        wait_for(lambda: len(outside.received) >= 2, message="two events to arrive")
        told = [one.verified(registered.secret) for one in outside.received]
        stage.judge(run, rows=200)
    assert [one["type"] for one in told] == ["run.submitted", "run.succeeded"]
    assert told[1]["data"]["run"] == run.id
    assert told[1]["data"]["summary"]["rows_done"] == 200


@pytest.mark.thorough
def test_a_receiver_that_is_down_and_comes_back(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url, job=_JOB, knobs=_KNOBS)
    stage.fill(200)
    with closing(Receiver()) as gone:
        port = gone.port
        registered = stage.bulk.webhooks.add(gone.url)
    worker = stage.worker()
    run = stage.submit()
    stage.until_succeeded(run)
    number = registered.endpoint.id
    wait_for(
        lambda: stage.bulk.webhooks.endpoint(number).failing_since, message="it to be found away"
    )
    with receiver(port) as outside:
        # After five seconds each, as the table says; nobody hastens it.
        wait_for(lambda: _arrived(stage, outside), message="both events to arrive")
        assert set(outside.events(registered.secret)) == {"run.submitted", "run.succeeded"}
        wait_for(
            lambda: (
                stage.bulk.webhooks.endpoint(number).failing_since is None
                and {one.status for one in stage.bulk.webhooks.deliveries()}
                == {DeliveryStatus.DELIVERED}
            ),
            message="both to be marked",
        )
    first = stage.bulk.webhooks.delivery(stage.bulk.webhooks.deliveries()[-1].id).tries[0]
    assert first.error is not None
    assert first.error.startswith("cannot connect: ")
    assert registered.secret not in worker.log()
    stage.judge(run, rows=200, complaints=_AWAY)


def _arrived(stage: Stage, outside: Receiver) -> bool:
    """Both events; what was tried in vain again before it was there at all is hastened."""
    deliveries = stage.bulk.webhooks.deliveries()
    if any(one.status is DeliveryStatus.WAITING and one.tries > 1 for one in deliveries):
        hasten(stage)
    return len(outside.received) >= 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)]
)
def test_a_worker_that_dies_between_sending_and_marking(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    tmp_path: Path,
    database: str,
) -> None:
    stage = set_stage(
        request.getfixturevalue(f"{database}_url"),
        valkey_url,
        job=_JOB,
        knobs={**_KNOBS, "lease_seconds": 2.0},
    )
    stage.fill(200)
    with receiver() as outside:
        registered = stage.bulk.webhooks.add(outside.url, events=["run.succeeded"])
        failpoint = Failpoint("after sending", str(tmp_path))
        worker = stage.worker(concurrency=1, failpoint=failpoint)
        run = stage.submit()
        assert failpoint.victim() == worker.pid, "it is the main process that sends"
        worker.kill_all()
        assert len(outside.received) == 1
        (delivery,) = stage.bulk.webhooks.deliveries()
        assert (delivery.status, delivery.tries) == (DeliveryStatus.WAITING, 1)
        stage.worker(concurrency=1)
        hasten(stage)
        wait_for(
            lambda: stage.bulk.webhooks.deliveries()[0].status is DeliveryStatus.DELIVERED,
            message="it to be delivered",
        )
        first, second = outside.received
        assert first.id == second.id
        assert first.verified(registered.secret) == second.verified(registered.secret)
    stage.until_succeeded(run)


def test_a_receiver_that_hangs_delays_no_rescue(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url, job=_JOB, knobs=_KNOBS)
    stage.fill(200)
    with receiver() as outside:
        over = threading.Event()

        def hang(_file: object) -> None:
            over.wait(120)

        outside.by_hand = hang
        stage.bulk.webhooks.add(outside.url)
        # No other worker, so it is the one with the sender that has to see to it.
        stage.worker(concurrency=2)
        gate = stage.gate()
        run = stage.submit(gate=str(gate.directory), gated=2)
        name, pid = wait_for(gate.arrived, message="a chunk to wait")[0]
        wait_for(lambda: outside.received, message="it to hang")
        victim = next(one for one in stage.workers[0].children() if one.pid == pid)
        victim.kill()
        wait_for(lambda: len(gate.arrived()) > 1, message=f"chunk {name} to be taken up")
        assert len(outside.received) == 1, "it hung all the while"
        (waiting,) = stage.bulk.webhooks.deliveries()
        assert (waiting.status, waiting.tries) == (DeliveryStatus.WAITING, 1)
        gate.open()
        stage.until_succeeded(run)
        over.set()


def test_a_link_waits_for_its_broker(postgres_url: str, set_stage: Stages, tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as broker:
        stage = set_stage(
            postgres_url, broker.url, job=_JOB, knobs={"broker_patience": 1.0, **_KNOBS}
        )
        stage.fill(200)
        note, path = stage.application.app.tasks["team.note"], tmp_path / "noted"
        stage.worker()
        gate = stage.gate()
        job = stage.count(gate=str(gate.directory), gated=4)
        run = stage.bulk.submit(
            job, link=note.si(str(path), 0.0), link_error=note.si(str(tmp_path / "wrong"), 0.0)
        )
        stage.until_done(run, 3)
        broker.stop("immediate")
        gate.open()
        # Kombu 5.7 may have ended the worker; whoever runs workers starts them again.
        stage.worker(ready=False)
        stage.until_succeeded(run)
        (delivery,) = wait_for(
            lambda: [one for one in stage.bulk.webhooks.deliveries(run=run.id) if one.tries],
            message="a try to send it",
        )
        wait_for(
            lambda: stage.bulk.webhooks.delivery(delivery.id).tries, message="that try to fail"
        )
        assert not path.exists()
        broker.start()
        hasten(stage)
        wait_for(path.exists, message="the linked task to be run")
        wait_for(
            lambda: stage.bulk.webhooks.deliveries()[0].status is DeliveryStatus.DELIVERED,
            message="it to be marked",
        )
        stage.judge(run, rows=200, complaints=(*_AWAY, "Unrecoverable error"))
        stage.finish()
    assert not (tmp_path / "wrong").exists()
