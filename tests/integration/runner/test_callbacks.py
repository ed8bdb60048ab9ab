"""The callback: once, with what was done, by the same policy as chunks when it fails."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from breakbulk import RunStatus
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Yard, failing, tell

if TYPE_CHECKING:
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

    def finished(run: FinishedRun) -> None:
        calls.append(run.attempt)
        raise Death

    handle = yard.submit(yard.job(finished=finished, max_retries=1))
    crew = yard.crew()

    def ended() -> bool:
        with suppress(Death):
            crew.work()
        crew.tick()  # the steward frees the callback of a lane that is no more
        return handle.status() is RunStatus.FAILED

    wait_for(ended, message="the run to end")
    assert calls == [1, 2, 3, 4]
    assert "died" in str(handle.record().reason)
    yard.close()


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
