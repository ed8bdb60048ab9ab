"""Groups, chords and chains of a team's own tasks, with real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import Session

from breakbulk import RunStatus
from breakbulk.canvas import chain, chord, group
from breakbulk.errors import PartFailed
from tests.support.tasks import SIGNALS, notes
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROOT = Path(__file__).parents[2]
#: Seconds that a script may take; a million parts take minutes on a busy machine.
_PATIENCE = 1_800.0
#: A script that dies while it yields signatures, as its own process.
_PRODUCER = """
import os, signal, sys
from breakbulk.canvas import chord
from tests.support.warehouse import app

def parts():
    for number in range(int(sys.argv[1])):
        if number == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield app.tasks["team.write"].si(number, path=sys.argv[3])

body = app.tasks["team.write"].si("body", path=sys.argv[3])
print(chord(parts(), body).apply_async(idempotency_key="tonight").id)
"""
#: One that says how many parts it has applied, and how many KB of memory it has taken at most.
_LARGE = """
import sys
from breakbulk.canvas import chord
from tests.support.warehouse import app

nothing = app.tasks["team.nothing"]
header = (nothing.si(number) for number in range(int(sys.argv[1])))
parts = len(chord(header, nothing.si()).apply_async())
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(parts, peak)
"""


def task(stage: Stage, name: str) -> Any:
    """A task of the team."""
    return stage.application.app.tasks[f"team.{name}"]


def script(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the team's as its own process."""
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        env={**os.environ, "PYTHONPATH": str(_ROOT), **stage.config.environment()},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where tasks write down what they do."""
    return str(tmp_path / "notes")


def test_the_article_s_own_script(stage: Stage, path: str) -> None:
    for _ in range(2):
        stage.worker()
    process_some, process_finished = task(stage, "part"), task(stage, "finished")
    task_list = []
    for x in range(0, 5_000, 500):
        task_list.append(  # noqa: PERF401  (as it stands there)
            process_some.s(x, x + 500, path, failing=2 if x == 1_000 else 0)
        )
    product_group = group(task_list)
    handle = chain(product_group, process_finished.s(path=path, failing=1)).apply_async()
    assert handle.get(timeout=60) == "done"
    *written, first, again = notes(path)
    assert [first, again] == [["finished", [True] * 10, retries] for retries in (0, 1)]
    parts = [tuple(words[1:4]) for words in written]
    expected = [(x, x + 500, 0) for x in range(0, 5_000, 500)]
    assert sorted(parts) == sorted([*expected, (1_000, 1_500, 1), (1_000, 1_500, 2)])
    assert {words[5] for words in written} == {handle.id}
    assert len({words[4] for words in written}) == 10, "the same id in every attempt"
    shown = stage.breakbulk("status", handle.id)
    assert 'celery.canvas(header="team.part", body="team.finished")' in shown
    assert "at least once: a task manages its own transaction" in shown


def test_a_killed_child_costs_no_part(stage: Stage, path: str) -> None:
    stage.worker()
    gate = stage.gate()
    header = [task(stage, "wait").s(str(gate.directory))]
    header += [task(stage, "write").si(n, path=path) for n in range(20)]
    end = stage.gate("end")
    handle = chord(header, task(stage, "wait").si(str(end.directory), "body")).apply_async()
    for place in (gate, end):
        wait_for(lambda: place.arrived() != [], message="it to be at work")  # noqa: B023  (at once)
        ((_, pid),) = place.arrived()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(place.arrived()) == 2, message="it to be tried again")  # noqa: B023
        place.open()
    assert handle.get(timeout=60) == "body"
    assert Counter(words[0] for words in notes(path)) == Counter(range(20))
    assert "WorkerDied" in {failure.error for failure in handle.run.failures()}


@pytest.mark.parametrize("pool", ["prefork", pytest.param("solo", marks=pytest.mark.thorough)])
def test_limits_signals_and_all_ends(stage: Stage, path: str, tmp_path: Path, pool: str) -> None:
    heard = str(tmp_path / "signals")
    stage.worker(pool=pool, env={SIGNALS: heard})
    handle = group(
        task(stage, "soft").s(catches=True),
        task(stage, "auto").s(path, failing=2),
        task(stage, "ignore").s(),
        task(stage, "silent").s(3),
        task(stage, "add").s(1, 2),
        task(stage, "reject").s(path + "-rejected", requeue=True),
        task(stage, "soft").s(catches=False),
        task(stage, "hard").s(),
        task(stage, "auto").s(path, failing=3),
        task(stage, "reject").s(path + "-rejected", requeue=False),
        on_failure="isolate",
    ).apply_async()
    results = handle.get(timeout=60)
    assert results == ["caught", 2, None, None, 3, "taken", None, None, None, None]
    errors = {one.number: one.error for one in reversed(handle.run.failures())}
    assert {errors[7], errors[8]} == {
        "billiard.exceptions.SoftTimeLimitExceeded",
        "billiard.exceptions.TimeLimitExceeded",
    }
    assert errors[9] == "KeyError"
    told = Counter(tuple(words) for words in notes(heard))
    assert told["success", "team.add"] == told["prerun", "team.add"] == 1
    assert told["retry", "team.auto"] == 4
    assert told["failure", "team.auto"] == told["failure", "team.hard"] == 1
    assert told["postrun", "team.soft"] == told["prerun", "team.soft"] == 2


@pytest.mark.thorough
def test_threads_keep_no_time_limits(stage: Stage, path: str) -> None:
    stage.worker(pool="threads")
    handle = chord([task(stage, "add").s(n, n) for n in range(5)], task(stage, "total").s(path))
    assert handle.apply_async().get(timeout=60) == 20
    held = group(task(stage, "soft").s(catches=True)).apply_async()
    record = stage.until(held.run, RunStatus.HELD)
    assert "cannot be kept in a pool of threads" in (record.reason or "")
    # Another kind of worker does it.
    stage.finish()
    stage.worker(pool="solo")
    held.resume()
    assert held.get(timeout=60) == ["caught"]


@pytest.mark.parametrize("broker", ["valkey", "redis", "amqp"])
def test_what_is_sent_on_each_broker(
    broker: str, broker_named: Any, postgres_url: str, set_stage: Stages, path: str
) -> None:
    stage = set_stage(postgres_url, broker_named(broker))
    stage.worker()
    add, write, total = (task(stage, name) for name in ("add", "write", "total"))
    body = total.s(path)
    body.link(write.s("linked", path=path))
    handle = chain(add.s(1, 1), add.s(1), group(add.s(n) for n in range(3)), body).apply_async()
    assert handle.get(timeout=60) == 12
    broken = chord([add.s(1, 1), task(stage, "fail").s()], total.s(path))
    broken.link_error(task(stage, "old_errback").s(path=path))
    broken.link_error(task(stage, "new_errback").s(path=path))
    failed = broken.apply_async()
    with pytest.raises(PartFailed, match="Part 2"):
        failed.get(timeout=60)
    wait_for(lambda: len(notes(path)) == 4, message="links and error callbacks to be done")
    written = {words[0]: words[1:] for words in notes(path)}
    assert written["total"] == [[3, 4, 5]]
    assert written[12] == ["linked"]
    assert len(written["old"]) == 1
    assert "raised ValueError('failed []')" in written["new"][1]


def test_nothing_runs_before_the_commit(stage: Stage, path: str) -> None:
    stage.worker()
    header = [task(stage, "write").si(n, path=path) for n in range(3)]
    with Session(stage.engine) as session:
        chord(header, task(stage, "total").si([1])).apply_async(session=session)
        session.rollback()
    with Session(stage.engine) as session:
        handle = chord(header, task(stage, "total").si([1])).apply_async(session=session)
        before = group(task(stage, "add").s(1, 1)).apply_async()
        assert before.get(timeout=60) == [2]
        assert notes(path) == []
        session.commit()
    assert handle.get(timeout=60) == 1
    assert sorted(notes(path)) == [[0], [1], [2]]


def test_it_is_paused_and_revoked(stage: Stage, path: str) -> None:
    stage.worker(concurrency=1)
    gate = stage.gate()
    header = [task(stage, "wait").s(str(gate.directory))]
    header += [task(stage, "write").si(n, path=path) for n in range(5)]
    handle = chord(header, task(stage, "total").si([], path)).apply_async()
    wait_for(lambda: gate.arrived() != [], message="the first part to be at work")
    handle.pause()
    gate.open()
    stage.until(handle.run, RunStatus.PAUSED)
    assert notes(path) == []
    handle.resume()
    handle.get(timeout=60)
    gate.close()
    other = chord(header, task(stage, "total").si([], path)).apply_async()
    wait_for(lambda: len(gate.arrived()) == 1, message="the first part to be at work")
    other.revoke(terminate=True)
    stage.until(other.run, RunStatus.CANCELLED)
    assert len(notes(path)) == 6


@pytest.mark.thorough
def test_a_producer_that_dies_is_followed_by_another(stage: Stage, path: str) -> None:
    stage.worker()

    def produce(until: int) -> subprocess.CompletedProcess[str]:
        return script(stage, _PRODUCER, "2000", str(until), path)

    assert produce(1_500).returncode == -signal.SIGKILL
    run = stage.bulk.run(stage.bulk.runs()[0].id)
    record = stage.until(run, RunStatus.FAILED)
    assert "header ended early at part" in (record.reason or "")
    assert ["body"] not in notes(path)
    done = produce(-1)
    assert done.stdout.strip() == str(run.id), done.stderr
    stage.until_succeeded(run)
    written: dict[Any, int] = Counter(words[0] for words in notes(path))
    assert written == Counter([*range(2_000), "body"])


@pytest.mark.soak
def test_a_million_parts_take_their_producer_no_more_memory_than_a_few(stage: Stage) -> None:
    peaks: dict[int, int] = {}
    for size in (10_000, 1_000_000):
        done = script(stage, _LARGE, str(size))
        assert done.returncode == 0, done.stderr
        parts, peaks[size] = map(int, done.stdout.split())
        assert parts == size
    assert peaks[1_000_000] <= 1.1 * peaks[10_000], peaks
