"""An iterable as a source, with real workers: its producer is killed, and another one goes on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROWS = 6_000
_HALT = 4_500
_PROGRAM = ("run", "Manifest", "--idempotency-key", "tonight")


def newest(stage: Stage) -> RunHandle:
    """The run that was submitted last."""
    return stage.bulk.run(stage.bulk.runs()[0].id)


@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="kill -9"),
        pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.thorough),
    ],
)
def test_a_producer_that_is_killed_is_followed_by_another(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    database: str,
    number: signal.Signals,
) -> None:
    stage = set_stage(
        request.getfixturevalue(f"{database}_url"),
        valkey_url,
        job={"chunk_size": 100, "retry_delay": 0},
        knobs={"lease_seconds": 3.0},
    )
    stage.put(_ROWS)
    stage.worker()
    gate = stage.gate()
    halt = ("-p", f"gate={gate.directory}", "-p", f"halt={_HALT}")
    program = (*_PROGRAM, "-p", f"rows={_ROWS}", *halt)
    producer = stage.operator(*program)
    wait_for(lambda: gate.arrived() == [(str(_HALT), producer.pid)], message="the halt")
    run = newest(stage)
    # Lanes are at work while the rest is still to be read.
    stage.until_done(run, 20)
    assert run.status() is RunStatus.LOADING
    assert run.progress().rows_total is None
    os.kill(producer.pid, number)
    producer.wait()
    record = stage.until(run, RunStatus.FAILED)
    assert (record.reason or "").startswith("source ended early at item ")
    assert stage.notices() == {}
    done = set(stage.chunk_statuses(run))
    assert done <= {"succeeded", "cancelled"}
    gate.open()
    stage.breakbulk(*program, "--wait", "--timeout", "120")
    record = run.record()
    assert (record.status, record.round) == (RunStatus.SUCCEEDED, 2)
    assert stage.versions() == {1: _ROWS}
    assert stage.notices() == {run.id: 1}
    audit = run.audit()
    assert (audit.findings, audit.notes) == ((), ())
    assert len(stage.bulk.runs()) == 1


@pytest.mark.thorough
def test_workers_come_and_go_while_it_is_being_read(stage: Stage) -> None:
    """One is killed in the middle; all the same each item is processed once."""
    stage.put(_ROWS)
    first = stage.worker()
    gate = stage.gate()
    producer = stage.operator(
        *_PROGRAM, "-p", f"rows={_ROWS}", "-p", f"gate={gate.directory}", "-p", f"halt={_HALT}"
    )
    wait_for(lambda: gate.arrived() != [], message="the halt")
    run = newest(stage)
    stage.until_done(run, 5)
    first.kill_all()
    stage.worker()
    gate.open()
    assert producer.wait(60) == 0
    stage.until_succeeded(run)
    assert stage.versions() == {1: _ROWS}
    assert stage.notices() == {run.id: 1}
    assert run.audit().clean
