"""Submitting: inside the caller's transaction, with a key, and with no broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.orm import Session

from breakbulk.errors import IdempotencyConflict, OverlapError
from tests.support.warehouse import Product

if TYPE_CHECKING:
    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROWS = 1000


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_a_run_is_part_of_the_callers_transaction(
    request: pytest.FixtureRequest, valkey_url: str, set_stage: Stages, database: str
) -> None:
    stage = set_stage(request.getfixturevalue(f"{database}_url"), valkey_url)
    stage.fill(_ROWS)
    stage.worker()
    with Session(stage.engine) as session:
        session.add(Product(id=1_000_000, name="never"))
        stage.bulk.submit(stage.count(), session=session)
        session.rollback()
    assert not stage.bulk.runs()
    with Session(stage.engine) as session:
        # Rows of the same transaction belong to the run.
        session.add(Product(id=1_000_000, name="just in time"))
        session.flush()
        run = stage.bulk.submit(stage.count(), session=session, idempotency_key="tonight")
        session.commit()
    same = stage.bulk.submit(stage.count(), idempotency_key="tonight")
    assert same.id == run.id
    stage.until_succeeded(run)
    same = stage.bulk.submit(stage.count(), idempotency_key="tonight")
    assert same.id == run.id, "also when it has ended"
    with pytest.raises(IdempotencyConflict):
        stage.bulk.submit(stage.count(label="another"), idempotency_key="tonight")
    stage.judge(run, rows=_ROWS + 1)


def test_a_run_that_goes_on_refuses_the_next(stage: Stage) -> None:
    stage.fill(_ROWS)
    first = stage.submit()
    with pytest.raises(OverlapError, match=f"Run {first.id} .* is still running"):
        stage.submit()
    behind = stage.bulk.submit(stage.count(), overlap="wait")
    beside = stage.bulk.submit(stage.count(), overlap="allow")
    stage.worker()
    stage.until_succeeded(first, behind, beside)
    stage.judge(first, behind, beside, rows=_ROWS)
    ended, began = first.record().finished_at, behind.record().started_at
    assert ended is not None
    assert began is not None
    assert ended <= began


def test_a_run_starts_when_its_time_has_come(stage: Stage) -> None:
    stage.fill(_ROWS)
    stage.worker()
    run = stage.bulk.submit(stage.count(), countdown=2)
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    record = run.record()
    assert record.not_before is not None
    assert record.started_at is not None
    assert record.submitted_at < record.not_before <= record.started_at
