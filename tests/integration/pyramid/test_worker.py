"""What a Pyramid application's jobs and subscribers find in a worker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from pyramid.threadlocal import get_current_request
from sqlalchemy import select

from breakbulk import RunStatus
from breakbulk.pyramid import (
    RowsQuarantined,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPartial,
    RunSucceeded,
)
from tests.support.yard import Boom, Goods, Notice, tell, touch

if TYPE_CHECKING:
    from breakbulk import Chunk, FinishedRun


def test_code_that_was_written_for_requests_works_in_chunks_and_callbacks(make_yard: Any) -> None:
    def count_up(request: Any, after: int, upto: int) -> None:
        """A service of the application's, as its views call it."""
        within = (Goods.id > after) & (Goods.id <= upto)
        for row in request.dbsession.scalars(select(Goods).where(within)):
            row.version += 1

    def greet() -> None:
        request = get_current_request()
        request.dbsession.add(Notice(run=0, words="hello"))

    seen: list[Any] = []

    def process(chunk: Chunk[Goods]) -> None:
        assert chunk.request.dbsession is chunk.session
        after, upto = chunk.bounds.after, chunk.bounds.upto
        count_up(chunk.request, int(str(after[0])) if after else 0, int(str(upto[0])))
        with chunk.request.dbsession.begin_nested():
            pass
        seen.append(chunk.request)

    def finished(run: FinishedRun) -> None:
        tell(run)
        assert run.request.dbsession is run.session
        greet()

    yard = make_yard()
    run = yard.run(process, finished=finished)
    yard.assert_proper(run)
    assert yard.notices() == ["succeeded 25", "hello"]
    assert len(set(map(id, seen))) == 3
    assert get_current_request() is None


def test_failed_has_a_request_too(make_yard: Any) -> None:
    def failed(run: FinishedRun) -> None:
        run.request.dbsession.add(Notice(run=run.id, words=f"sorry, {run.reason}"))

    yard = make_yard()
    run = yard.submit(yard.job(failed=failed))
    run.cancel(reason="enough")
    yard.settle(run)
    assert run.status() is RunStatus.CANCELLED
    assert yard.notices() == ["sorry, enough"]


def test_code_that_would_commit_by_the_transaction_manager_holds_the_run(make_yard: Any) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.request.tm.commit()

    yard = make_yard()
    run = yard.run(process)
    record = run.record()
    assert record.status is RunStatus.HELD
    assert "request.tm was used in a chunk or callback" in str(record.reason)
    assert set(yard.versions().values()) == {0}


def test_a_chunk_may_submit_another_run(make_yard: Any) -> None:
    yard = make_yard()
    other = yard.job(finished=None)

    def finished(run: FinishedRun) -> None:
        tell(run)
        run.request.breakbulk.submit(other())

    first = yard.run(finished=finished)
    assert first.status() is RunStatus.SUCCEEDED
    second = yard.bulk.run(int(first.id) + 1)
    yard.settle(second)
    assert set(yard.versions().values()) == {2}


def test_threads_have_requests_of_their_own(make_yard: Any) -> None:
    yard = make_yard()
    both = threading.Barrier(2, timeout=60)
    seen: list[bool] = []

    def meet(session: str) -> None:
        handed: Any = type("Handed", (), {"session": session})
        with yard.runtime.context(handed) as request:
            both.wait()
            seen.append(get_current_request() is request and request.dbsession == session)
            both.wait()

    threads = [threading.Thread(target=meet, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [True, True]


# Told of it


def hears(*kinds: type[Any], fails: dict[str, int] | None = None) -> Any:
    """Configure subscribers that write down what they hear."""
    left = fails or {}

    def hear(event: Any) -> None:
        name = type(event).__name__
        assert event.request.dbsession is event.session
        assert get_current_request() is event.request
        event.session.add(Notice(run=event.run.id, words=name))
        event.session.flush()
        if left.get(name, 0) > 0:
            left[name] -= 1
            raise Boom(f"no ear for {name}")

    def configure(config: Any) -> None:
        for kind in kinds:
            config.add_subscriber(hear, kind)

    return configure


def test_a_run_that_succeeds_is_told_once(make_yard: Any) -> None:
    yard = make_yard(configure=hears(RunSucceeded))
    run = yard.run(finished=None)
    assert run.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["RunSucceeded"]


def test_a_subscriber_that_raises_is_a_failing_callback(make_yard: Any) -> None:
    yard = make_yard(configure=hears(RunSucceeded, fails={"RunSucceeded": 2}))
    run = yard.run()
    yard.assert_proper(run)
    assert yard.notices() == ["succeeded 25", "RunSucceeded"]
    assert [one.message for one in run.failures()] == ["no ear for RunSucceeded"] * 2


def test_a_subscriber_that_raises_for_good_fails_the_run(make_yard: Any) -> None:
    fails = {"RunSucceeded": 99}
    yard = make_yard(configure=hears(RunSucceeded, RunFailed, fails=fails))
    run = yard.run(max_retries=1)
    record = run.record()
    assert record.status is RunStatus.FAILED
    assert "no ear for RunSucceeded" in str(record.reason)
    assert yard.notices() == ["RunFailed"]
    fails.clear()
    run.finish()
    yard.settle(run)
    assert run.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["RunFailed", "succeeded 25", "RunSucceeded"]


def test_rows_in_quarantine_are_told_once_a_round(make_yard: Any) -> None:
    counts: list[tuple[int, list[str]]] = []

    def count(event: RowsQuarantined) -> None:
        rows = event.request.breakbulk.run(event.run.id).errors()
        counts.append((event.count, [row.key for row in rows]))

    def configure(config: Any) -> None:
        hears(RowsQuarantined, RunPartial, RunSucceeded)(config)
        config.add_subscriber(count, RowsQuarantined)

    bad = {3, 14}

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 1
            if row.id in bad:
                raise Boom

    yard = make_yard(configure=configure)
    run = yard.run(process, max_retries=0, finished=None)
    assert run.status() is RunStatus.PARTIAL
    assert yard.notices() == ["RowsQuarantined", "RunPartial"]
    assert counts == [(2, ["[3]", "[14]"])]
    bad.discard(3)
    run.retry(key=(3,))
    yard.settle(run)
    assert yard.notices()[2:] == ["RunPartial"], "this round has put none there"
    bad.clear()
    run.retry()
    yard.settle(run)
    assert run.status() is RunStatus.SUCCEEDED
    assert yard.notices()[3:] == ["RunSucceeded"]


@pytest.mark.parametrize("stands", [True, False])
def test_a_run_that_is_cancelled_in_a_request_is_told_in_the_worker(
    make_yard: Any, *, stands: bool
) -> None:
    yard = make_yard(configure=hears(RunCancelled, RunFinished))
    run = yard.submit(yard.job(finished=None))
    if stands:
        run.pause()
    path = yard.serve(lambda request: request.breakbulk.run(run.id).cancel())
    assert yard.web.get(path, headers={"user": "ann"}).text == "finishing"
    assert yard.notices() == [], "not in the request, whose transaction it is not"
    yard.settle(run)
    record = run.record()
    assert record.status is RunStatus.CANCELLED
    assert record.reason == "cancelled by ann"
    assert yard.notices() == ["RunCancelled"] * 2


def test_a_run_that_its_policy_stops_is_told(make_yard: Any) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        raise Boom

    yard = make_yard(configure=hears(RunFailed))
    run = yard.run(process, on_failure="stop", max_retries=0, finished=None)
    assert run.status() is RunStatus.FAILED
    assert yard.notices() == ["RunFailed"]
