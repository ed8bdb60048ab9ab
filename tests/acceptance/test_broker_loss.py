"""The broker is disposable: flushed, gone for a while, gone for good."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from breakbulk.embedded import EmbeddedValkey
from tests.support.waiting import SLACK, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stages import Stages

_ROWS = 1000
_CHUNKS = 40
_JOB = {"chunk_size": 25, "retry_delay": 0}
#: What Celery itself says of a broker that is away.
_CELERY = ("consumer: Cannot connect", "Connection to broker lost")


def test_a_broker_that_is_down_at_submit_delays_the_run(
    postgres_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as broker:
        stage = set_stage(postgres_url, broker.url, job=_JOB)
        stage.fill(_ROWS)
        stage.worker()
        broker.stop()
        began = time.monotonic()
        run = stage.submit()
        took = time.monotonic() - began
        assert run.record().started_at is None
        broker.start()
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS, complaints=_CELERY)
        stage.finish()
    assert took < SLACK, f"submit took {took:.1f} s without a broker"


def test_a_broker_that_is_down_at_the_finish(
    postgres_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    """No message is needed to end a run, not even when the callback needs a second try."""
    with EmbeddedValkey(tmp_path / "valkey") as broker:
        stage = set_stage(postgres_url, broker.url, job=_JOB, knobs={"broker_patience": 1.0})
        stage.fill(_ROWS)
        stage.worker()
        gate, refusal = stage.gate(), tmp_path / "refusal"
        refusal.touch()
        run = stage.submit(gate=str(gate.directory), gated=_CHUNKS, refusal=str(refusal))
        stage.until_done(run, _CHUNKS - 1)
        broker.stop("immediate")
        gate.open()
        wait_for(run.failures, message="the callback to fail")
        refusal.unlink()
        # Kombu 5.7 may have ended the worker; whoever runs workers starts them again.
        stage.worker(ready=False)
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS, complaints=(*_CELERY, "Unrecoverable error", "no mail today"))
        stage.finish()


def test_a_broker_that_is_flushed(postgres_url: str, valkey_url: str, set_stage: Stages) -> None:
    stage = set_stage(postgres_url, valkey_url, job=_JOB, knobs={"slice_seconds": 1.0})
    stage.fill(_ROWS)
    stage.worker()
    gate = stage.gate()
    # The last chunk waits, so the run goes on whenever the broker is flushed.
    run = stage.submit(gate=str(gate.directory), gated=_CHUNKS)
    with Redis.from_url(valkey_url) as client:
        for done in (5, 10, 20):
            stage.until_done(run, done)
            client.flushdb()
    gate.open()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)


@pytest.mark.thorough
def test_a_broker_that_never_comes_back(
    postgres_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as broker:
        stage = set_stage(
            postgres_url,
            broker.url,
            job=_JOB,
            knobs={"slice_seconds": 1.0, "broker_patience": 1.0},
        )
        stage.fill(_ROWS)
        first = stage.worker()
        gate = stage.gate()
        run = stage.submit(gate=str(gate.directory), gated=_CHUNKS)
        stage.until_done(run, 5)
        broker.stop("immediate")
        gate.open()
        # Kombu 5.7 may end a worker that holds messages from Redis when the connection is lost;
        # whoever runs workers starts them again.
        second = stage.worker(ready=False)
        stage.until_succeeded(run)
        # A run of which no worker ever heard ends, too; not by a lane that was there already.
        wait_for(lambda: not stage.lanes(), message="the lanes to leave")
        other = stage.submit(label="unheard of")
        stage.until_succeeded(other)
        stage.judge(run, other, rows=_ROWS, complaints=(*_CELERY, "Unrecoverable error"))
        assert "working without the broker" in first.log() + second.log()
        stage.finish()


@pytest.mark.thorough
def test_a_worker_whose_only_slot_was_at_work_when_the_broker_went(
    postgres_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    """Celery hears of no task's end while it connects again: to it the slot is never free."""
    with EmbeddedValkey(tmp_path / "valkey") as broker:
        stage = set_stage(
            postgres_url,
            broker.url,
            job=_JOB,
            knobs={"slice_seconds": 2.0, "broker_patience": 1.0, "surplus_messages": 0},
        )
        stage.fill(_ROWS)
        # No message but the one that is worked on: Kombu ends a worker that holds any other.
        worker = stage.worker(concurrency=1, celery={"worker_prefetch_multiplier": 1})
        run = stage.submit(seconds=0.1)
        stage.until_done(run, 3)
        broker.stop("immediate")
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS, complaints=_CELERY)
        assert "working without the broker" in worker.log()
        stage.finish()


@pytest.mark.thorough
def test_a_worker_that_never_saw_its_broker(
    postgres_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as broker:
        stage = set_stage(postgres_url, broker.url, job=_JOB, knobs={"broker_patience": 1.0})
        stage.fill(_ROWS)
        broker.stop()
        run = stage.submit()
        worker = stage.worker(ready=False)
        wait_for(lambda: "Cannot connect" in worker.log(), message="the worker to try")
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS, complaints=_CELERY)
        stage.finish()
