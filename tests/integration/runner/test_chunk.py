"""What ``process`` and ``finished`` are handed says what is so, in every attempt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from breakbulk import RunStatus
from tests.support.yard import Boom, Goods, Yard, touch

if TYPE_CHECKING:
    import pytest

    from breakbulk import Chunk, FinishedRun


def test_a_chunk_knows_its_rows_its_keys_and_its_condition(yard: Yard) -> None:
    seen: list[tuple[Any, ...]] = []

    def process(chunk: Chunk[Goods]) -> None:
        rows = [row.id for row in chunk]
        keys = [key for (key,) in chunk.row_keys]
        matching = chunk.session.scalars(select(Goods.id).where(chunk.where)).all()
        chunk.session.execute(update(Goods).where(chunk.where).values(version=Goods.version + 1))
        assert rows == keys == sorted(matching)
        bounds = chunk.bounds
        seen.append((chunk.number, chunk.attempt, bounds.after, bounds.upto, len(rows)))

    handle = yard.run(process)
    yard.assert_proper(handle)
    assert seen == [(1, 1, None, (10,), 10), (2, 1, (10,), (20,), 10), (3, 1, (20,), (25,), 5)]


def test_a_chunk_knows_its_run(yard: Yard) -> None:
    seen: list[Any] = []

    def process(chunk: Chunk[Goods]) -> None:
        seen.append((chunk.run, repr(chunk)))

    handle = yard.run(process, finished=None)
    record = handle.record()
    run, shown = seen[1]
    assert (run.id, run.job, run.round) == (handle.id, record.job, 1)
    assert run.submitted_at == record.submitted_at
    assert shown == f"<Chunk 2 of run {handle.id} ([10], [20]]>"


def test_the_key_of_an_effect_is_the_same_in_every_attempt_half_and_round(yard: Yard) -> None:
    sent: dict[int, set[str]] = {}
    tries: dict[int, int] = {}
    broken = {7}

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            sent.setdefault(row.id, set()).add(chunk.key_for(row))
            tries[row.id] = tries.get(row.id, 0) + 1
        if broken & {row.id for row in chunk}:
            raise Boom

    handle = yard.run(process, finished=None, max_retries=1)
    assert handle.status() is RunStatus.PARTIAL
    broken.clear()
    assert handle.retry().round == 2
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert tries[7] > 5
    assert {len(keys) for keys in sent.values()} == {1}
    assert len({key for keys in sent.values() for key in keys}) == 25
    first = set().union(*sent.values())
    yard.run(process, finished=None)
    assert len(set().union(*sent.values()) - first) == 25, "another run, other effects"


def test_logs_carry_run_chunk_and_attempt(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="breakbulk.job")

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.log.info("at work")
        if chunk.number == 2 and chunk.attempt == 1:
            raise Boom

    def finished(run: FinishedRun) -> None:
        run.log.info("done with %s", run.idempotency_key)

    handle = yard.run(process, finished=finished)
    name = f"breakbulk.job.{handle.record().job}"
    records: list[Any] = [one for one in caplog.records if one.name == name]
    at_work = [(one.run, one.chunk, one.attempt) for one in records if one.msg == "at work"]
    assert sorted(at_work) == [
        (handle.id, "1", 1),
        (handle.id, "2", 1),
        (handle.id, "2", 2),
        (handle.id, "3", 1),
    ]
    last = records[-1]
    assert last.getMessage() == f"done with breakbulk-{handle.id}-round-1"
    assert (last.run, last.round) == (handle.id, 1)
