"""The callback: once, with what was done, by the same policy as chunks when it fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from breakbulk import RunStatus
from breakbulk.runner.runtime import live_lanes
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Yard, failing, tell

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Engine

    from breakbulk import FinishedRun


def test_a_callback_that_raises_is_tried_by_the_same_policy_then_fails_the_run(
    yard: Yard,
) -> None:
    keys: list[tuple[int, str]] = []

    def finished(run: FinishedRun) -> None:
        keys.append((run.attempt, run.idempotency_key))
        tell(run)
        run.session.flush()
        raise Boom("no mail today")

    handle = yard.run(finished=finished, max_retries=2)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason is not None
    assert "the callback failed 3 times" in record.reason
    assert "no mail today" in record.reason
    assert [attempt for attempt, _ in keys] == [1, 2, 3]
    assert len({key for _, key in keys}) == 1
    assert yard.notices() == []
    assert set(yard.versions().values()) == {1}
    assert [one.number for one in handle.failures()] == [None, None, None]
    assert record.summary is not None
    assert record.summary.rows_done == 25
    assert record.summary.attempts_failed == 0, "no chunk's"


def test_a_callback_cannot_say_what_became_of_its_run(yard: Yard) -> None:
    """What it has in its hands is its own; the ledger's facts are not taken from there."""

    def finished(run: FinishedRun) -> None:
        tell(run)
        run.status = RunStatus.CANCELLED
        run.summary = replace(run.summary, rows_done=7)

    handle = yard.run(finished=finished)
    yard.assert_proper(handle)
    summary = handle.record().summary
    assert summary is not None
    assert summary.rows_done == 25


def test_a_callback_is_tried_again_until_it_succeeds(yard: Yard) -> None:
    def finished(run: FinishedRun) -> None:
        tell(run)
        run.session.flush()
        if run.attempt < 3:
            raise Boom

    handle = yard.run(finished=finished)
    yard.assert_proper(handle)
    assert len(handle.failures()) == 2


def test_a_callback_that_exits_its_process_cannot_loop_for_ever(yard: Yard) -> None:
    def finished(run: FinishedRun) -> None:
        raise SystemExit

    handle = yard.submit(yard.job(finished=finished, max_retries=1))
    crew = yard.crew()

    def ended() -> bool:
        with suppress(SystemExit):
            crew.work()
        return handle.status() is RunStatus.FAILED

    wait_for(ended, message="the run to end")
    assert len(handle.failures()) == 2


def test_a_callback_whose_process_dies_each_time_cannot_loop_for_ever(clean_engine: Engine) -> None:
    class Death(BaseException):
        """Nobody hears of it: like kill -9, as far as the ledger can see."""

    yard = Yard(clean_engine, rows=25, shared=True, max_losses=2)
    calls: list[int] = []
    dying = Event()

    def finished(run: FinishedRun) -> None:
        calls.append(run.attempt)
        dying.set()
        raise Death

    handle = yard.submit(yard.job(finished=finished, max_retries=1))
    crew = yard.crew()
    mortal = replace(crew, process=replace(crew.process, stopping=dying.is_set))

    def ended() -> bool:
        dying.clear()
        with suppress(Death):
            mortal.work()
        crew.tick()  # the steward frees the callback of a lane that is no more
        return handle.status() is RunStatus.FAILED

    wait_for(ended, message="the run to end")
    assert calls == [1, 2, 3, 4]
    assert "died" in str(handle.record().reason)
    yard.close()


@pytest.mark.parametrize(
    ("how", "error"), [("dies", "WorkerDied: process "), ("hangs", "ChunkTimeout: took longer")]
)
def test_a_callback_that_takes_its_process_along_is_tried_by_the_same_policy(
    yard: Yard, how: str, error: str
) -> None:
    handle = yard.submit(yard.job(max_retries=1, retry_delay=60, chunk_timeout=7))
    crew = yard.first_crew
    with yard.transaction() as connection:
        connection.execute(update(yard.ledger.database.schema.runs).values(status="finishing"))
    for attempt in (1, 2):
        lane = yard.lane(handle)
        with yard.transaction() as connection:
            claimed = yard.ledger.finishers.claim(connection, handle.id, uuid4(), lane.token)
        assert claimed == attempt
        crew.seconds[lane.token] = 8.5
        if how == "hangs":
            crew.overdue = {lane.token}
        else:
            live_lanes.remove(lane.token)
        crew.tick()
        assert crew.ended.count(lane.token) == int(how == "hangs")
        live_lanes.remove(lane.token)
        newest = handle.failures()[0]
        assert (newest.number, newest.attempt, newest.seconds) == (None, attempt, 8.5)
        assert f"{newest.error}: {newest.message}".startswith(error)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert str(record.reason).startswith(f"the callback failed 2 times: {error}")
    assert record.callback_failed


def test_postgres_a_deadlock_costs_a_callback_no_attempt(postgres_yard: Yard) -> None:
    tries: list[int] = []

    def finished(run: FinishedRun) -> None:
        tries.append(run.attempt)
        tell(run)
        if len(tries) < 3:
            raising = "DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"
            run.session.execute(text(raising))

    handle = postgres_yard.run(finished=finished, max_retries=0)
    postgres_yard.assert_proper(handle)
    assert tries == [1, 1, 1]
    assert handle.failures() == []


def test_a_callback_that_is_no_end_of_its_process_is_a_failure_like_any(yard: Yard) -> None:
    def finished(run: FinishedRun) -> None:
        raise asyncio.CancelledError

    handle = yard.run(finished=finished, max_retries=1)
    assert handle.status() is RunStatus.FAILED
    assert [one.error for one in handle.failures()] == ["asyncio.exceptions.CancelledError"] * 2


def test_a_run_that_its_policy_has_stopped_is_not_finished_by_calling_it_back(
    clean_engine: Engine,
) -> None:
    yard = Yard(clean_engine, rows=200, shared=True, max_carve=2)
    broken, told = [True], []

    def failed(run: FinishedRun) -> None:
        told.append(f"{run.status}: {run.reason}")
        if broken:
            raise Boom("no mail today")

    job = yard.job(failing(99), failed=failed, max_retries=0, on_failure="stop")
    handle = yard.submit(job)
    yard.settle(handle)
    why = f"chunk 2 failed: {Boom.__module__}.Boom: attempt 1"
    assert told == [f"failed: {why}"]
    assert str(handle.record().reason).startswith(f"{why}; the callback failed 1 time: ")
    broken.clear()
    assert handle.finish() is RunStatus.FINISHING
    yard.settle(handle)
    record = handle.record()
    assert (record.status, record.reason) == (RunStatus.FAILED, why), "most rows were not tried"
    assert told[1:] == [f"failed: {why}"]
    assert yard.notices() == [], "finished() is for runs that came to their end"
    yard.close()


def test_a_callback_whose_twin_was_told_can_be_tried_again(yard: Yard) -> None:
    broken, told = [True], []

    def finished(run: FinishedRun) -> None:
        if broken:
            raise Boom("no mail today")
        tell(run)

    handle = yard.run(finished=finished, failed=lambda run: told.append(run.status), max_retries=0)
    assert (handle.status(), told) == (RunStatus.FAILED, [RunStatus.FAILED])
    broken.clear()
    handle.finish()
    yard.settle(handle)
    yard.assert_proper(handle)
    assert handle.record().reason is None


def test_postgres_a_callback_that_another_has_taken_up_is_rolled_back(postgres_yard: Yard) -> None:
    """Its lane was declared dead in the middle of it; it lives, and comes to its end."""
    yard = postgres_yard
    finishers = yard.ledger.finishers
    tokens: list[UUID] = []

    def finished(run: FinishedRun) -> None:
        tell(run)
        run.session.flush()
        if run.attempt == 1:
            (row,) = yard.rows_of("runs")
            tokens.append(uuid4())
            with yard.transaction() as connection:
                assert finishers.free(connection, handle.id, row["finisher"], wait=0)
                assert finishers.claim(connection, handle.id, tokens[0], uuid4()) == 2

    handle = yard.submit(yard.job(finished=finished))
    crew = yard.crew()
    crew.work()
    assert (handle.status(), yard.notices()) == (RunStatus.FINISHING, [])
    crew.tick()  # nobody knows the other's lane, so the callback is taken up once more
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["succeeded 25"]


def test_the_callback_sees_what_was_done(yard: Yard) -> None:
    seen: list[FinishedRun] = []
    handle = yard.run(failing(1), finished=seen.append)
    (run,) = seen
    assert (run.id, run.round, run.attempt, run.status) == (handle.id, 1, 1, "succeeded")
    assert (run.summary.rows_done, run.summary.chunks_done) == (25, 3)
    assert run.summary.attempts_failed == 1
    assert run.idempotency_key == f"breakbulk-{handle.id}-round-1"
    assert run.parameters == {"tag": ""}


def test_a_job_without_a_callback_ends_all_the_same(yard: Yard) -> None:
    handle = yard.run(finished=None)
    assert handle.status() is RunStatus.SUCCEEDED
