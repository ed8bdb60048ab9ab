"""Lanes over SQS: Kombu's transport with boto3 and curl, against moto's server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sqs import sqs
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000
_JOB = {"chunk_size": 25, "retry_delay": 0}
#: Seconds; shorter than a slice, so that messages of lanes at work are delivered again.
_VISIBILITY = 2
#: Here the deletion of a message comes after its lane, and so too late.
_LATE = {"task_acks_late": True}


@pytest.mark.thorough
def test_a_run_over_sqs_with_messages_that_come_again(postgres_url: str, set_stage: Stages) -> None:
    with sqs(_VISIBILITY) as server:
        stage = set_stage(
            postgres_url,
            server.url,
            job=_JOB,
            celery={"broker_transport_options": server.options, **_LATE},
            knobs={"slice_seconds": 3.0 * _VISIBILITY, "lease_seconds": 3.0},
        )
        stage.fill(_ROWS)
        first = stage.worker()
        gate = stage.gate()
        run = stage.submit(gate=str(gate.directory), seconds=0.05)
        wait_for(lambda: len(gate.arrived()) == 2, message="both slots to be at work")
        # Its messages are hidden, and then there again, while their lanes work.
        wait_for(
            lambda: server.waiting(stage.config.queue)[0] > 0,
            message="the message of a lane at work to be visible again",
        )
        second = stage.worker()
        gate.open()
        stage.until_done(run, 10)
        # A worker dies with what it has received; the others hear of that again.
        first.kill_all()
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS)
        assert not stage.attempts(run)
        again = stage.submit()
        stage.until_succeeded(again)
        stage.judge(run, again, rows=_ROWS)
        second.terminate()
        assert second.wait() == 0, second.last_lines()
        stage.finish()


@pytest.mark.thorough
def test_messages_of_a_worker_that_has_died_with_them(postgres_url: str, set_stage: Stages) -> None:
    with sqs(_VISIBILITY) as server:
        stage = set_stage(
            postgres_url,
            server.url,
            job=_JOB,
            celery={"broker_transport_options": server.options},
        )
        stage.fill(_ROWS)
        run = stage.submit()
        # Somebody has received all there was, and is gone.
        wait_for(lambda: server.steal(stage.config.queue), message="the lanes that are sent")
        wait_for(lambda: not server.waiting(stage.config.queue)[0], message="nothing to be left")
        worker = stage.worker()
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS)
        assert "sqs://" in worker.log()
        stage.finish()
