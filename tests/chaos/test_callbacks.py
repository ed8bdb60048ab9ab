"""The callback: killed in the middle, cut off in its COMMIT, raising; it commits once a round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from breakbulk import RunStatus
from tests.chaos.faults.databases import OF_UNIT, STEWARD, anybody_waits
from tests.support.proxy import Fate, Proxy
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stages import Stages
    from tests.support.warehouse import Gate

_ROWS = 200
_JOB = {"chunk_size": 50, "retry_delay": 0, "max_retries": 2}
#: What Celery says in its own log when a process of its pool is killed.
_KILLED = ("WorkerLostError", "Process 'ForkPoolWorker")


def _called(gate: Gate, times: int) -> int:
    """Wait until the callback is called for the how-manieth time; the process that is at it."""

    def latest() -> int | None:
        came = gate.arrived()
        return (
            max(pid for _name, pid in came if psutil.pid_exists(pid))
            if len(came) >= times
            else None
        )

    pid = wait_for(latest, message=f"call {times} of the callback")
    assert pid is not None
    return pid


@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)]
)
def test_killed_in_the_middle(
    request: pytest.FixtureRequest, valkey_url: str, set_stage: Stages, database: str
) -> None:
    """Twice, each time when it has written what it had to write; before and after: windows."""
    url = request.getfixturevalue(f"{database}_url")
    # A lease so long that nobody can have waited for it.
    stage = set_stage(url, valkey_url, job=_JOB, knobs={"lease_seconds": 600.0})
    stage.fill(_ROWS)
    stage.worker(concurrency=1)
    gate = stage.gate()
    run = stage.submit(finale=str(gate.directory))
    for times in (1, 2):
        victim = _called(gate, times)
        assert run.status() is RunStatus.FINISHING
        psutil.Process(victim).kill()
    _called(gate, 3)
    gate.open()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS, complaints=_KILLED)
    assert run.record().finish_attempt == 3
    assert not stage.attempts(run)


@pytest.mark.thorough
@pytest.mark.parametrize("fate", Fate, ids=lambda fate: fate.name.lower())
def test_cut_off_in_its_commit(
    postgres_url: str, valkey_url: str, set_stage: Stages, fate: Fate
) -> None:
    stage = set_stage(postgres_url, valkey_url, job=_JOB)
    stage.fill(_ROWS)
    with Proxy(postgres_url) as proxy:
        stage.worker(concurrency=1, database=proxy.url)
        gate = stage.gate()
        run = stage.submit(finale=str(gate.directory))
        _called(gate, 1)
        ambush = proxy.ambush(fate, of=OF_UNIT)
        gate.open()
        wait_for(ambush.caught.is_set, message="its COMMIT to be caught")
        if fate is Fate.LATE:
            wait_for(lambda: anybody_waits(stage), message="somebody to ask what became of it")
            assert run.status() is RunStatus.FINISHING
            ambush.release.set()
        stage.until_succeeded(run)
        stage.judge(run, rows=_ROWS, complaints=[STEWARD])
        assert len(gate.arrived()) == 1, "one process, which can tell"
        assert run.record().finish_attempt == (2 if fate is Fate.LOST else 1)
        stage.finish()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)]
)
def test_raising_until_somebody_puts_it_right(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    tmp_path: Path,
    database: str,
) -> None:
    """It is tried again by the job's own policy, then the run has failed and says why."""
    url = request.getfixturevalue(f"{database}_url")
    stage = set_stage(url, valkey_url, job=_JOB)
    stage.fill(_ROWS)
    stage.worker(concurrency=1)
    refusal = tmp_path / "refusal"
    refusal.touch()
    run = stage.submit(refusal=str(refusal))
    record = stage.until(run, RunStatus.FAILED, RunStatus.SUCCEEDED)
    assert record.status is RunStatus.FAILED
    assert "the callback failed 3 times: ValueError: no mail today" in str(record.reason)
    assert len(run.failures()) == 3
    assert not stage.notices()
    refusal.unlink()
    stage.breakbulk("finish", str(run.id))
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS, complaints=["no mail today"])
    assert not stage.attempts(run), "what was done is not done again"
