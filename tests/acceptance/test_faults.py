"""Workers that are killed on SQLite, or shut down, and operators; the rest is chaos."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest

from breakbulk import RunStatus
from tests.support.waiting import SLACK, wait_for
from tests.support.warehouse import Product

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Stage
    from tests.support.stages import Stages
    from tests.support.warehouse import Gate
    from tests.support.workers import Worker, WorkerFactory

_ROWS = 1000
_LEASE = 2.0
_JOB = {"chunk_size": 50, "retry_delay": 0}
#: An application of which the third process of the pool never comes up.
_LATE = """
import time

from billiard import current_process
from celery.signals import worker_process_init
from tests.support.warehouse import app, bulk


@worker_process_init.connect(weak=False)
def dawdle(**_: object) -> None:
    if current_process().name == "ForkPoolWorker-3":
        time.sleep(3600)
"""


def _arrivals(gate: Gate, number: int) -> list[int]:
    wait_for(lambda: len(gate.arrived()) >= number, message=f"{number} chunks to come to the gate")
    return [pid for _name, pid in gate.arrived()]


def _crowd(stage: Stage, workers: int) -> tuple[list[Worker], Gate]:
    """Workers of one slot each, all at work and waiting at the gate."""
    gate = stage.gate()
    started = [stage.worker(concurrency=1) for _ in range(workers)]
    return started, gate


def test_sqlite_a_killed_child(sqlite_url: str, valkey_url: str, set_stage: Stages) -> None:
    # A lease so long that nobody can have waited for it.
    stage = set_stage(sqlite_url, valkey_url, job=_JOB, knobs={"lease_seconds": 600.0})
    stage.fill(_ROWS)
    gate = stage.gate()
    worker = stage.worker()
    run = stage.submit(gate=str(gate.directory), gated=3)
    [pid] = _arrivals(gate, 1)
    next(child for child in worker.children() if child.pid == pid).kill()
    _arrivals(gate, 2)
    gate.open()
    stage.until_succeeded(run)
    # Celery says in its own log that a process of its pool was killed.
    stage.judge(run, rows=_ROWS, complaints=["WorkerLostError", "Process 'ForkPoolWorker"])
    assert stage.attempts(run) == {3: 2}, "the attempt that died counts, and no other"
    assert run.failures()[0].error == "WorkerDied"


@pytest.mark.thorough
def test_a_child_that_is_up_too_late(
    stage: Stage, start_worker: WorkerFactory, tmp_path: Path
) -> None:
    """Celery kills it and forks another; no lane was in it, and the slot is not lost."""
    stage.fill(_ROWS)
    (tmp_path / "late.py").write_text(_LATE)
    worker = start_worker("late", env=stage.config.environment())
    gate = stage.gate()
    run = stage.submit(gate=str(gate.directory))
    first = _arrivals(gate, 2)
    psutil.Process(first[0]).kill()
    # The other one waits at the gate, so this is whoever came in the place of the one in between.
    _arrivals(gate, 3)
    assert "Timed out waiting for UP message from <ForkProcess(ForkPoolWorker-3," in worker.log()
    gate.open()
    stage.until_succeeded(run)
    killed = ["WorkerLostError", "Process 'ForkPoolWorker-1'", "Process 'ForkPoolWorker-2'"]
    stage.judge(run, rows=_ROWS, complaints=killed)
    assert list(stage.attempts(run).values()) == [2], "the attempt that died counts, and no other"
    assert not stage.losses(run)


@pytest.mark.thorough
def test_sqlite_a_killed_worker(sqlite_url: str, valkey_url: str, set_stage: Stages) -> None:
    stage = set_stage(sqlite_url, valkey_url, job=_JOB, knobs={"lease_seconds": _LEASE})
    stage.fill(_ROWS)
    # The first leads, so the other has to take that over, too.
    (first, second), gate = _crowd(stage, 2)
    run = stage.submit(gate=str(gate.directory), gated=1)
    [pid] = _arrivals(gate, 1)
    victim = first if pid in {child.pid for child in first.children()} else second
    victim.kill_all()
    killed = time.monotonic()
    _arrivals(gate, 2)
    took = time.monotonic() - killed
    gate.open()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run), "a lost machine costs no attempt"
    assert stage.losses(run) == {1: 1}
    assert took < _LEASE + SLACK, f"the other took over after {took:.1f} s"


def test_a_warm_shutdown_in_the_middle_of_chunks(stage: Stage) -> None:
    stage.fill(_ROWS)
    gate = stage.gate()
    leaving = stage.worker()
    run = stage.submit(gate=str(gate.directory))
    _arrivals(gate, 2)
    children = {child.pid for child in leaving.children()}
    in_hand = [name for name, _pid in gate.arrived()]
    leaving.terminate()
    wait_for(
        lambda: any(worker.draining for worker in stage.bulk.workers()),
        message="the shutdown to be known",
    )
    staying = stage.worker()
    gate.open()
    assert leaving.wait() == 0
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)
    assert not stage.losses(run)
    assert [name for name, pid in gate.arrived() if pid in children] == in_hand, (
        "chunks in hand ended, no other began"
    )
    assert "rescued" not in staying.log()


def test_pause_resume_and_cancel_under_load(stage: Stage) -> None:
    stage.fill(_ROWS)
    stage.worker()
    gate = stage.gate()
    run = stage.submit(gate=str(gate.directory))
    _arrivals(gate, 2)
    assert run.pause() is RunStatus.PAUSING
    gate.open()
    stage.until(run, RunStatus.PAUSED)
    assert not stage.lanes()
    done = len(stage.chunk_statuses(run, "succeeded"))
    assert done == 2, "chunks in hand ended, no other began"
    gate.close()
    other = stage.submit(label="passes by")
    stage.until_succeeded(other)
    assert len(stage.chunk_statuses(run, "succeeded")) == done, "a paused run stands still"
    run.resume()
    _arrivals(gate, 4)
    assert run.cancel(reason="enough") is RunStatus.CANCELLING
    gate.open()
    record = stage.until(run, RunStatus.CANCELLED)
    assert record.reason == "enough"
    assert run.audit().clean
    summary = record.summary
    assert summary is not None
    versions = stage.versions(Product)
    assert versions == {1: _ROWS - summary.rows_done, 2: summary.rows_done}
    assert stage.notices() == {int(other.id): 1}
    assert len(stage.chunk_statuses(run, "succeeded")) == 4
    assert set(stage.chunk_statuses(run)) <= {"succeeded", "cancelled"}
