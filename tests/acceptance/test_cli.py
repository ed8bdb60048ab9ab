"""The command line as processes of its own, with real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from breakbulk.embedded import EmbeddedValkey
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROOT = Path(__file__).parents[2]
_APP = "tests.support.warehouse"
_ROWS = 1000
_PATIENCE = 120


class Cli:
    """``breakbulk -A …`` for one stage, in processes that the test started."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def environment(self) -> dict[str, str]:
        """Ours, with the application's; any warning would be an error."""
        return {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
            "BREAKBULK_APP": _APP,
            **self._stage.config.environment(),
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            [sys.executable, "-m", "breakbulk", *arguments],
            cwd=self._stage.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a verb that is not about to end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "breakbulk", *arguments],
            cwd=self._stage.directory,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def cli(stage: Stage) -> Cli:
    """The command line on a stage with rows."""
    stage.fill(_ROWS)
    return Cli(stage)


def test_run_and_watch_to_the_end(stage: Stage, cli: Cli) -> None:
    stage.worker()
    result = cli("run", "Count", "--watch")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith(
        "Run 1 of Count succeeded: 1,000 rows in 20 chunks, "
    )
    lines = result.stderr.splitlines()
    assert all(line.startswith("run 1 ") for line in lines), lines
    assert lines[-1].startswith("run 1 succeeded: 1,000 of 1,000 rows (100.0 %), ")
    assert "\x1b" not in result.stdout + result.stderr
    assert cli("audit", "1").returncode == 0
    stage.judge(stage.bulk.run(1), rows=_ROWS)


@pytest.mark.thorough
def test_events_of_a_watched_run(stage: Stage, cli: Cli) -> None:
    stage.worker()
    result = cli("run", "Count", "-p", "seconds=0.05", "--watch", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["submitted", "ended"]
    done = [event["rows_done"] for event in events if event["event"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == _ROWS
    assert events[-1]["run"]["summary"]["rows_done"] == _ROWS
    assert not result.stderr


def test_ctrl_c_lets_go_and_the_run_goes_on(stage: Stage, cli: Cli) -> None:
    gate = stage.gate()
    stage.worker()
    with cli.started("run", "Count", "-p", f"gate={gate.directory}", "--watch") as process:
        wait_for(gate.arrived, message="a chunk at work")
        assert process.stderr is not None
        assert process.stderr.readline().startswith("run 1 running: 0 of ")
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 6
    assert "Let go of run 1; it goes on." in err
    assert err.splitlines()[-1] == "Come back with: breakbulk watch 1"
    gate.open()
    stage.until_succeeded(stage.bulk.run(1))
    stage.judge(stage.bulk.run(1), rows=_ROWS)


def test_pause_resume_and_cancel(stage: Stage, cli: Cli) -> None:
    gate = stage.gate()
    stage.worker()
    run = stage.submit(gate=str(gate.directory))
    wait_for(gate.arrived, message="a chunk at work")
    pausing = cli("pause", "1")
    assert (pausing.returncode, pausing.stdout) == (
        0,
        "Run 1 is pausing: what is in hand ends first, nothing else is started.\n",
    )
    assert cli("status", "1", "--exit-code").returncode == 6
    gate.open()
    watched = cli("watch", "1")
    assert watched.returncode == 5
    assert "Run 1 of Count is paused" in watched.stdout
    assert cli("status", "1", "--exit-code").returncode == 5
    resumed = cli("resume", "1")
    assert resumed.stdout == "Run 1 is running: its lanes are asked for.\n"
    assert cli("watch", "1").returncode == 0
    stage.judge(run, rows=_ROWS)


@pytest.mark.thorough
def test_cancelled_run(stage: Stage, cli: Cli) -> None:
    gate = stage.gate()
    stage.worker()
    run = stage.submit(gate=str(gate.directory))
    wait_for(gate.arrived, message="a chunk at work")
    cancelling = cli("cancel", "1", "--reason", "wrong price list", "--json")
    assert json.loads(cancelling.stdout) == {"run": 1, "status": "cancelling"}
    gate.open()
    watched = cli("watch", "1")
    assert watched.returncode == 4
    assert "Run 1 of Count was cancelled (wrong price list): " in watched.stdout
    assert run.status() is RunStatus.CANCELLED


@pytest.mark.thorough
def test_out_of_time(stage: Stage, cli: Cli) -> None:
    result = cli("run", "Count", "--wait", "--timeout", "0.1")
    assert result.returncode == 6
    assert "it goes on. Come back with: breakbulk watch 1" in result.stderr
    stage.worker()
    stage.until_succeeded(stage.bulk.run(1))


def test_doctor_knows_the_workers(stage: Stage, cli: Cli) -> None:
    stage.worker(concurrency=3, queues=["elsewhere"])
    run = stage.submit()
    result = cli("doctor")
    assert result.returncode == 1
    assert "has 3 slots (prefork) for elsewhere." in result.stdout
    assert f"Run {run.id} of Count stands still: no worker consumes its queue" in result.stdout
    stage.worker()
    stage.until_succeeded(run)
    healthy = cli("doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert healthy.stdout.endswith("Errors: 0. Warnings: 0.\n")


@pytest.mark.thorough
@pytest.mark.parametrize("fate", ["lives", "is killed"])
def test_doctor_on_sqlite_asks_the_file_locks(
    sqlite_url: str, valkey_url: str, set_stage: Stages, fate: str
) -> None:
    stage = set_stage(sqlite_url, valkey_url)
    worker = stage.worker()
    if fate == "is killed":
        worker.kill_all()
    result = Cli(stage)("doctor")
    assert result.returncode == 0, result.stderr
    if fate == "lives":
        assert f"Worker {worker.pid} on " in result.stdout
        assert "Warnings: 0." in result.stdout
    else:
        assert f"Worker {worker.pid} on " in result.stdout
        assert "is no longer heard from." in result.stdout
        assert "No worker is alive" in result.stdout


@pytest.mark.thorough
def test_sqlite_force_says_what_it_waits_for(
    sqlite_url: str, valkey_url: str, set_stage: Stages
) -> None:
    """And whom an operator may kill, rather than wait for as long as a chunk may take."""
    stage = set_stage(sqlite_url, valkey_url, job={"chunk_size": 4})
    stage.put(12)
    gate = stage.gate()
    worker = stage.worker(concurrency=1)
    run = stage.submit(gate=str(gate.directory), gated=2)
    [(_, pid)] = wait_for(gate.arrived, message="the chunk to be at work")
    with Cli(stage).started("cancel", str(run.id), "--force") as cancelling:
        assert cancelling.stderr is not None
        assert f"Waiting for process {pid}, which holds" in cancelling.stderr.readline()
        next(child for child in worker.children() if child.pid == pid).kill()
        assert cancelling.wait(60) == 0
    stage.until(run, RunStatus.CANCELLED, timeout=60)
    assert stage.versions() == {0: 8, 1: 4}
    assert run.audit().clean


@pytest.mark.thorough
def test_broker_that_is_down_at_run(
    postgres_url: str, set_stage: Stages, tmp_path: Path, embedded: None
) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        stage = set_stage(postgres_url, valkey.url, job={"chunk_size": 50})
        stage.fill(_ROWS)
        valkey.stop()
        cli = Cli(stage)
        result = cli("run", "Count")
        assert result.returncode == 0, result.stderr
        assert "The broker does not answer. Run 1 is safe in the ledger" in result.stderr
        assert cli("doctor").returncode == 7
        valkey.start()
        stage.worker()
        stage.until_succeeded(stage.bulk.run(1))
        stage.judge(stage.bulk.run(1), rows=_ROWS)


@pytest.mark.thorough
def test_through_celerys_own_command_line(stage: Stage, cli: Cli, tmp_path: Path) -> None:
    # As an installed package announces itself; the checkout may not be installed.
    site = tmp_path / "site"
    metadata = site / "breakbulk-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: breakbulk\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(
        "[celery.commands]\nbreakbulk = breakbulk.cli:celery_command\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "celery", "-A", _APP, "breakbulk", "run", "Count"],
        cwd=tmp_path,
        env={**cli.environment(), "PYTHONPATH": os.pathsep.join([str(_ROOT), str(site)])},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Run 1 of Count(")
    assert f"Watch it with: celery -A {_APP} breakbulk watch 1" in result.stderr
    assert stage.bulk.run(1).status() is RunStatus.RUNNING


@pytest.mark.thorough
def test_output_into_a_closed_pipe_is_quiet(stage: Stage, cli: Cli) -> None:
    with cli.started("doctor", "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert not process.stderr.read()
        process.wait(_PATIENCE)
        process.stdout = None


def test_steward_starts_lanes_of_its_own_without_a_broker(
    postgres_url: str, set_stage: Stages, tmp_path: Path, embedded: None
) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        knobs = {"broker_patience": 0.5}
        stage = set_stage(postgres_url, valkey.url, job={"chunk_size": 50}, knobs=knobs)
        stage.fill(_ROWS)
        worker = stage.worker()
        valkey.stop()
        assert Cli(stage)("run", "Count", "--wait").returncode == 0
        assert "working without the broker" in worker.log()
        assert stage.versions() == {1: _ROWS}
