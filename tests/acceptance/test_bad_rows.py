"""Rows that cannot be processed, in real worker processes: found, put away, tried again."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import RunStatus
from breakbulk.domain.keys import decode_key
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from breakbulk import RunHandle
    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROWS = 300
# In chunks of a hundred: two bad rows in one, one in the next, none in the last.
_POISON = {"17": "kill", "60": "raise", "133": "segfault"}
_DEATHS = ["WorkerLostError", "Process 'ForkPoolWorker", "has no owner", "is given up"]


@pytest.fixture
def shop(postgres_url: str, valkey_url: str, set_stage: Stages) -> Stage:
    job = {"chunk_size": 100, "max_retries": 0, "retry_delay": 0}
    stage = set_stage(postgres_url, valkey_url, job=job)
    stage.put(_ROWS)
    return stage


def _letters(outbox: Path) -> dict[int, set[str]]:
    """The keys under which a mail server was asked to write to each product's owner."""
    letters: dict[int, set[str]] = defaultdict(set)
    for line in outbox.read_text().splitlines() if outbox.exists() else ():
        number, key = line.split(" ", 1)
        letters[int(number)].add(key)
    return letters


def _quarantined(run: RunHandle) -> dict[Any, str]:
    return {decode_key(row.key)[0]: row.error for row in run.errors()}


def test_rows_that_kill_and_rows_that_raise(shop: Stage, tmp_path: Path) -> None:
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps(_POISON))
    shop.worker()
    run = shop.bulk.submit(shop.application.mail(outbox=str(outbox), poison=str(poison)))
    shop.until(run, RunStatus.PARTIAL, RunStatus.HELD, timeout=120)
    assert run.status() is RunStatus.PARTIAL, run.record().reason
    assert _quarantined(run) == {17: "WorkerDied", 60: "ValueError", 133: "WorkerDied"}
    assert shop.versions() == {0: 3, 1: _ROWS - 3}
    assert run.audit().clean
    assert shop.notices() == {run.id: 1}
    # An operator puts it right and tries again what failed, and only that.
    poison.write_text("{}")
    assert run.retry().rows == 3
    shop.until(run, RunStatus.SUCCEEDED)
    assert shop.versions() == {1: _ROWS}
    assert run.audit().clean
    assert shop.notices() == {run.id: 2}, "once a round"
    letters = _letters(outbox)
    assert set(letters) == set(range(1, _ROWS + 1))
    assert all(len(keys) == 1 for keys in letters.values()), "one key for a row, whatever happened"
    assert len(set().union(*letters.values())) == _ROWS


def test_a_worker_that_is_broken_holds_the_run(shop: Stage, tmp_path: Path) -> None:
    """Everything fails alike: nothing goes to quarantine, and a human is told."""
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({str(n): "exit" for n in range(1, _ROWS + 1)}))
    shop.worker()
    run = shop.bulk.submit(shop.application.mail(outbox=str(outbox), poison=str(poison)))
    record = shop.until(run, RunStatus.HELD, RunStatus.PARTIAL, timeout=120)
    assert record.status is RunStatus.HELD
    assert "nothing succeeds any more" in str(record.reason)
    assert run.errors() == []
    # A child that has read the poison already would still die of it, after the run is resumed.
    wait_for(lambda: not shop.chunk_statuses(run, "running"), message="nothing to be in hand")
    poison.write_text("{}")
    run.resume()
    shop.until(run, RunStatus.SUCCEEDED)
    assert shop.versions() == {1: _ROWS}
    assert shop.notices() == {run.id: 1}


@pytest.mark.thorough
def test_what_operators_see_of_it(shop: Stage, tmp_path: Path) -> None:
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({"60": "raise", "61": "raise"}))
    shop.worker()
    run = shop.bulk.submit(shop.application.mail(outbox=str(outbox), poison=str(poison)))
    shop.until(run, RunStatus.PARTIAL)
    listed = shop.breakbulk("errors", str(run.id))
    assert "ValueError" in listed
    assert "product 60 has no owner" in listed
    assert "deeds.py:" in listed
    groups = json.loads(shop.breakbulk("errors", str(run.id), "--group", "--json"))["groups"]
    assert [(group["error"], group["chunks"]) for group in groups] == [("ValueError", 1)]
    rows = list(csv.DictReader(io.StringIO(shop.breakbulk("errors", str(run.id), "--csv"))))
    assert [row["key"] for row in rows] == ["[60]", "[61]"]
    assert "Traceback" in rows[0]["traceback"]
    shown = shop.breakbulk("errors", str(run.id), "--chunk", rows[0]["chunk"])
    assert "Round 1, attempt 2" in shown
    poison.write_text("{}")
    told = shop.breakbulk("retry", str(run.id), "--key", "[60]", "--json")
    assert json.loads(told) == {"run": run.id, "round": 2, "chunks": 1, "rows": 1}
    shop.until(run, RunStatus.PARTIAL)
    assert _quarantined(run) == {61: "ValueError"}


@pytest.mark.parametrize(
    "pool",
    ["prefork", *(pytest.param(one, marks=pytest.mark.thorough) for one in ("threads", "solo"))],
)
def test_rows_that_hang(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path, pool: str
) -> None:
    """A child is killed; a thread cannot be, but it loses its session, its chunk and its slot.

    When no slot is left the work goes on in processes that can be killed.
    """
    stage = set_stage(
        postgres_url,
        valkey_url,
        job={"chunk_size": 4, "max_retries": 0, "retry_delay": 0, "chunk_timeout": 1.0},
        knobs={"broker_patience": 1.0},
    )
    stage.put(12)
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({"6": "hang"}))
    worker = stage.worker(pool=pool, concurrency=2)
    run = stage.bulk.submit(stage.application.mail(outbox=str(outbox), poison=str(poison)))
    stage.until(run, RunStatus.PARTIAL, RunStatus.HELD, timeout=60)
    assert run.status() is RunStatus.PARTIAL, run.record().reason
    assert _quarantined(run) == {6: "ChunkTimeout"}
    assert "took longer than chunk_timeout=1 s" in run.errors()[0].message
    assert all((failure.seconds or 0) > 1 for failure in run.failures())
    assert stage.versions() == {0: 1, 1: 11}
    assert stage.notices() == {run.id: 1}
    assert run.audit().clean
    assert ("working without the broker" in worker.log()) is (pool != "prefork")
    slots = [one.slots for one in stage.bulk.workers()]
    assert slots == [2 if pool == "prefork" else 0], "as many as can work"


@pytest.mark.thorough
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_rows_that_want_to_end_the_process(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path, pool: str
) -> None:
    stage = set_stage(
        postgres_url, valkey_url, job={"chunk_size": 4, "max_retries": 0, "retry_delay": 0}
    )
    stage.put(12)
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({"6": "sys.exit", "10": "memory"}))
    worker = stage.worker(pool=pool)
    before = {child.pid for child in worker.children()}
    run = stage.bulk.submit(stage.application.mail(outbox=str(outbox), poison=str(poison)))
    stage.until(run, RunStatus.PARTIAL, RunStatus.HELD, timeout=60)
    assert _quarantined(run) == {6: "SystemExit", 10: "MemoryError"}
    assert stage.versions() == {0: 2, 1: 10}
    assert {child.pid for child in worker.children()} == before
    assert worker.running


@pytest.mark.thorough
def test_a_callback_that_hangs(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    stage = set_stage(
        postgres_url, valkey_url, job={"max_retries": 1, "retry_delay": 0, "chunk_timeout": 1.0}
    )
    stage.put(12)
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({"finished": "hang"}))
    stage.worker()
    run = stage.bulk.submit(stage.application.mail(outbox=str(outbox), poison=str(poison)))
    record = stage.until(run, RunStatus.FAILED, timeout=60)
    assert str(record.reason).startswith("the callback failed 2 times: ChunkTimeout: took longer")
    assert stage.versions() == {1: 12}
    assert stage.notices() == {}
    poison.write_text("{}")
    assert "its callback is due" in stage.breakbulk("finish", str(run.id))
    stage.until(run, RunStatus.SUCCEEDED)
    assert stage.notices() == {run.id: 1}
    assert [failure.number for failure in run.failures()] == [None, None]


@pytest.mark.parametrize("pool", [pytest.param("prefork", marks=pytest.mark.thorough), "threads"])
def test_cancelled_by_force(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path, pool: str
) -> None:
    stage = set_stage(postgres_url, valkey_url, job={"chunk_size": 4})
    stage.put(12)
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({"6": "hang", "9": "hang"}))
    stage.worker(pool=pool)
    run = stage.bulk.submit(stage.application.mail(outbox=str(outbox), poison=str(poison)))
    wait_for(lambda: {6, 9} <= set(_letters(outbox)), message="both to hang")
    assert run.cancel() is RunStatus.CANCELLING
    stage.breakbulk("cancel", str(run.id), "--force")
    stage.until(run, RunStatus.CANCELLED, timeout=10)
    assert stage.versions() == {0: 8, 1: 4}, "what was in hand is undone"
    assert [one.verb for one in run.activity()].count("forced") == 1
    assert run.audit().clean
    assert not stage.lanes()
