"""Who is told of runs: in the transaction that submits or ends them, and once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from breakbulk import CancelRun, RunStatus
from breakbulk.runner.chunk import FinishedRun, SubmittedRun
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Goods, Notice, Yard, failing, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from breakbulk import Chunk


class Herald:
    """Writes down what it is told, in the transaction in which it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        #: Raised by the calls from this one on, as often as this says.
        self.fails: dict[str, int] = {}

    def __call__(self, run: SubmittedRun | FinishedRun) -> None:
        word = str(run.status) if isinstance(run, FinishedRun) else "submitted"
        self.calls.append(word)
        run.session.add(Notice(run=run.id, words=f"told {word}"))
        if self.fails.get(word, 0) > 0:
            self.fails[word] -= 1
            run.session.flush()
            raise Boom(f"no ear for {word}")


@pytest.fixture
def herald() -> Herald:
    return Herald()


@pytest.fixture
def told_yard(clean_engine: Engine, herald: Herald) -> Iterator[Yard]:
    yard = Yard(clean_engine, rows=25, shared=True, notify=herald)
    yield yard
    yard.close()


def told(yard: Yard) -> list[str]:
    return [words for words in yard.notices() if words.startswith("told ")]


def test_a_run_that_succeeds(told_yard: Yard, herald: Herald) -> None:
    handle = told_yard.run()
    told_yard.assert_proper(handle)
    assert told(told_yard) == ["told submitted", "told succeeded"]
    assert herald.calls == ["submitted", "succeeded"]


def test_of_a_job_without_callbacks(told_yard: Yard) -> None:
    told_yard.run(finished=None)
    assert told(told_yard) == ["told submitted", "told succeeded"]


def test_a_run_with_rows_in_quarantine(told_yard: Yard) -> None:
    seen: list[tuple[int, int]] = []

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 1
            if row.id in (3, 14):
                raise Boom(f"row {row.id}")

    def finished(run: FinishedRun) -> None:
        seen.append((run.round, run.quarantined))

    handle = told_yard.run(process, finished=finished, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    assert told(told_yard)[1:] == ["told partial"]
    handle.retry(key=(3,))
    told_yard.settle(handle)
    assert told(told_yard)[1:] == ["told partial"] * 2, "once a round"
    assert seen == [(1, 2), (2, 1)], "what this round has put there"


@pytest.mark.parametrize("reason", ["policy", "job", "operator"])
@pytest.mark.parametrize("has_failed", [True, False])
def test_a_run_that_is_stopped(
    told_yard: Yard, herald: Herald, reason: str, *, has_failed: bool
) -> None:
    seen: list[str] = []
    failed: Callable[[FinishedRun], None] | None = None
    if has_failed:
        failed = lambda run: seen.append(str(run.status))  # noqa: E731

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if reason == "policy":
            raise Boom
        raise CancelRun("enough")

    handle = told_yard.submit(
        told_yard.job(process, failed=failed, on_failure="stop", max_retries=0)
    )
    if reason == "operator":
        handle.cancel()
    told_yard.settle(handle)
    word = "failed" if reason == "policy" else "cancelled"
    assert handle.status() == word
    assert told(told_yard) == ["told submitted", f"told {word}"]
    assert seen == [word] * has_failed
    assert herald.calls == ["submitted", word]


@pytest.mark.parametrize("stand", ["paused", "waiting"])
def test_a_run_that_is_cancelled_while_it_stands_still(told_yard: Yard, stand: str) -> None:
    job = told_yard.job()
    handle = told_yard.submit(job)
    first = handle
    if stand == "paused":
        handle.pause()
    else:
        handle = told_yard.submit(job, overlap="wait")
        assert handle.status() is RunStatus.HELD
    handle.cancel()
    told_yard.settle(handle, *([] if stand == "paused" else [first]))
    assert handle.status() is RunStatus.CANCELLED
    assert told(told_yard).count("told cancelled") == 1


def test_a_telling_that_fails_is_a_failing_callback(told_yard: Yard, herald: Herald) -> None:
    herald.fails = {"succeeded": 2}
    handle = told_yard.run()
    told_yard.assert_proper(handle)
    assert herald.calls == ["submitted", *["succeeded"] * 3]
    assert told(told_yard) == ["told submitted", "told succeeded"]
    assert [one.message for one in handle.failures()] == ["no ear for succeeded"] * 2


def test_a_callback_that_fails_for_good_is_told_as_a_failure(
    told_yard: Yard, herald: Herald
) -> None:
    def finished(_run: FinishedRun) -> None:
        raise Boom

    handle = told_yard.run(finished=finished, max_retries=1)
    assert handle.status() is RunStatus.FAILED
    assert told(told_yard) == ["told submitted", "told failed"]
    assert herald.calls == ["submitted", "failed"]


def test_a_telling_that_fails_for_good_ends_the_run_all_the_same(
    told_yard: Yard, herald: Herald
) -> None:
    herald.fails = {"succeeded": 99, "failed": 99}
    handle = told_yard.run(max_retries=1)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.callback_failed
    assert "no ear for failed" in str(record.reason)
    assert told(told_yard) == ["told submitted"]
    assert herald.calls == ["submitted", *["succeeded"] * 2, *["failed"] * 2]
    herald.fails = {}
    handle.finish()
    told_yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert told(told_yard) == ["told submitted", "told succeeded"]


def test_a_telling_whose_process_dies_is_told_again_and_committed_once(
    clean_engine: Engine,
) -> None:
    class Death(BaseException):
        """Nobody hears of it: like kill -9, as far as the ledger can see."""

    deaths = [Death(), Death()]

    def notify(run: SubmittedRun | FinishedRun) -> None:
        run.session.add(Notice(run=run.id, words="told"))
        run.session.flush()
        if isinstance(run, FinishedRun) and deaths:
            raise deaths.pop()

    yard = Yard(clean_engine, rows=25, shared=True, notify=notify)
    handle = yard.submit(yard.job())
    crew = yard.crew()

    def ended() -> bool:
        with suppress(Death):
            crew.work()
        crew.tick()  # the steward frees the callback of a lane that is no more
        return handle.status() is RunStatus.SUCCEEDED

    wait_for(ended, message="the run to end")
    assert not deaths
    assert yard.notices().count("told") == 2, "submitted and succeeded"
    yard.assert_proper(handle)
    yard.close()


# Submitting


def test_of_a_submit_in_a_transaction_that_is_rolled_back(told_yard: Yard, herald: Herald) -> None:
    with Session(told_yard.engine) as session:
        told_yard.submit(told_yard.job(), session=session)
        session.rollback()
    assert herald.calls == ["submitted"]
    assert told(told_yard) == []
    assert told_yard.count("runs") == 0


def test_a_submit_in_a_transaction_hands_over_its_session(clean_engine: Engine) -> None:
    seen: list[Any] = []

    def notify(run: SubmittedRun | FinishedRun) -> None:
        assert isinstance(run, SubmittedRun)
        seen.append((run.session, run.id, run.status, run.parameters, run.queue))

    yard = Yard(clean_engine, shared=True, notify=notify)
    with Session(yard.engine) as session:
        handle = yard.submit(yard.job(), session=session)
        session.commit()
    assert seen == [(session, handle.id, RunStatus.RUNNING, {"tag": ""}, "celery")]
    yard.close()


@pytest.mark.parametrize("within", [True, False])
def test_a_telling_that_fails_refuses_the_submit(
    told_yard: Yard, herald: Herald, *, within: bool
) -> None:
    herald.fails = {"submitted": 1}
    with Session(told_yard.engine) as session:
        options = {"session": session} if within else {}
        with pytest.raises(Boom, match="no ear for submitted"):
            told_yard.submit(told_yard.job(), **options)
    assert told_yard.count("runs") == 0
    assert told(told_yard) == []


@pytest.mark.parametrize(
    "mode", ["conditional_savepoint", "create_savepoint", "control_fully", "rollback_only"]
)
def test_a_submit_by_itself_whatever_the_sessionmaker_does(
    clean_engine: Engine, herald: Herald, mode: Any
) -> None:
    sessions = sessionmaker(clean_engine, join_transaction_mode=mode)
    yard = Yard(sessions, rows=25, shared=True, notify=herald)
    handle = yard.submit(yard.job())
    assert told(yard) == ["told submitted"]
    herald.fails = {"submitted": 1}
    with pytest.raises(Boom):
        yard.submit(yard.job())
    assert told(yard) == ["told submitted"]
    assert yard.count("runs") == 1
    yard.settle(handle)
    yard.assert_proper(handle)
    yard.close()


def test_a_run_that_was_there_already_is_not_told_again(told_yard: Yard, herald: Herald) -> None:
    job = told_yard.job()
    first = told_yard.submit(job, idempotency_key="night")
    second = told_yard.submit(job, idempotency_key="night")
    assert second.id == first.id
    assert herald.calls == ["submitted"]


def test_a_chunk_that_fails_is_not_told(told_yard: Yard, herald: Herald) -> None:
    told_yard.assert_proper(told_yard.run(failing(2)))
    assert herald.calls == ["submitted", "succeeded"]
