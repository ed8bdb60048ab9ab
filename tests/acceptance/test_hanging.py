"""A chunk that hangs where everybody waits for it, because it has SQLite's only writer's turn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from breakbulk import RunStatus
from breakbulk.domain.keys import decode_key
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stages import Stages

_TIMEOUT = 2.0


def test_sqlite_a_chunk_that_hangs_with_the_writers_turn(
    sqlite_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    """It is ended although the steward waits behind it, and nobody else is blamed who waits."""
    stage = set_stage(
        sqlite_url,
        valkey_url,
        job={"chunk_size": 1, "max_retries": 0, "retry_delay": 0, "chunk_timeout": _TIMEOUT},
    )
    stage.put(12)
    poison, outbox = tmp_path / "poison", tmp_path / "outbox"
    poison.write_text(json.dumps({"6": "hang"}))
    stage.worker(concurrency=2)
    # The leader has to take it off the list when it dies, and must write for that.
    other = stage.worker(concurrency=1, queues=["nobody's"])
    run = stage.bulk.submit(stage.application.mail(outbox=str(outbox), poison=str(poison)))
    wait_for(lambda: outbox.exists() and "\n6 " in outbox.read_text(), message="the chunk to hang")
    other.kill_all()
    stage.until(run, RunStatus.PARTIAL, RunStatus.HELD, timeout=60)
    assert run.status() is RunStatus.PARTIAL, run.record().reason
    errors = {decode_key(row.key)[0]: row.error for row in run.errors()}
    assert errors == {6: "ChunkTimeout"}
    assert {failure.error for failure in run.failures()} == {"ChunkTimeout"}
    assert len({failure.number for failure in run.failures()}) == 1, "nobody who only waited"
    assert all((failure.seconds or 0) >= _TIMEOUT for failure in run.failures())
    assert stage.versions() == {0: 1, 1: 11}
    assert stage.notices() == {run.id: 1}
    assert run.audit().clean
