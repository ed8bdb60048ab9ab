"""Workers whose ledger is not there: one sentence, no traceback, and no restart afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000
_MISSING = "The ledger's tables are missing: run 'breakbulk db upgrade' first."


def test_a_worker_that_comes_before_the_tables(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url, job={"chunk_size": 50})
    stage.fill(_ROWS)
    with stage.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA breakbulk CASCADE"))
    worker = stage.worker()
    # A message of an earlier life of the database.
    broker = stage.bulk.broker
    assert broker is not None
    assert broker.send_lanes(stage.config.queue, 1)
    wait_for(lambda: f"no lane: {_MISSING}" in worker.log(), message="a lane to say it")
    assert worker.log().count(f"the steward cannot work yet: {_MISSING}") == 1
    stage.bulk.upgrade()
    run = stage.submit()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    worker.terminate()
    assert worker.wait() == 0


def test_a_worker_whose_database_does_not_answer(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    stage = set_stage(postgres_url, valkey_url)
    worker = stage.worker(database=nowhere)
    wait_for(lambda: "the steward cannot work yet" in worker.log(), message="it to be said")
    worker.terminate()
    assert worker.wait() == 0
    log = worker.log()
    assert "Traceback" not in log
    (line,) = (line for line in log.splitlines() if "does not answer" in line)
    assert line.endswith("check the URL and that the server runs.")
