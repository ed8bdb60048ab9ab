"""Groups, chords and chains on each database, with lanes in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Ignore, Reject
from celery.exceptions import TimeoutError as CeleryTimeout
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.orm import Session

import breakbulk
from breakbulk import RunStatus
from breakbulk.canvas import CanvasResult, chain, chord, group, result
from breakbulk.errors import CanvasError, IdempotencyConflict, PartFailed, RunNotFound, SourceError
from breakbulk.parts import results as results_of_parts
from tests.integration.canvas.conftest import Team
from tests.support.yard import Base, Goods, Yard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


def test_a_chord_hands_results_over_in_header_order(team: Team) -> None:
    handle = chord([team.add.s(n, n) for n in range(10)])(team.tell.s("x"))
    assert (handle.state, handle.ready()) == ("PENDING", False)
    team.settle(handle)
    assert team.told_of("tell") == [[[2 * n for n in range(10)], "x"]]
    assert handle.get(timeout=0) == [2 * n for n in range(10)]
    assert (handle.state, handle.successful(), len(handle)) == ("SUCCESS", True, 10)
    assert list(handle.results()) == [2 * n for n in range(10)]


def test_a_group_gives_a_list(team: Team) -> None:
    handle = group(team.add.s(n, 1) for n in range(3)).delay()
    team.settle(handle)
    assert handle.get() == handle.join() == [1, 2, 3]
    assert (handle.results()[-1], handle.completed_count()) == (3, 3)


def test_an_immutable_body_needs_no_results(team: Team) -> None:
    handle = (group(team.add.s(n, n) for n in range(3)) | team.tell.si("done")).apply_async()
    team.settle(handle)
    assert handle.get() == "done"
    assert team.told_of("tell") == [["done"]]
    assert team.yard.count("results") == 1, "the body's own and no other"


@pytest.mark.parametrize("size", [0, 1])
def test_small_headers(team: Team, size: int) -> None:
    handle = chord([team.add.s(8, 8)] * size, team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == [16] * size
    assert team.told_of("tell") == [[[16] * size]]


def test_nothing_at_all(team: Team) -> None:
    handle = chord([], team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == []
    assert handle, "as in: if handle: handle.get()"
    assert len(handle) == 0


def test_empty_chains_count_for_nothing(team: Team) -> None:
    header = [team.add.s(1, 1), chain(), team.add.s(2, 2), chain()]
    handle = chord(header, team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == [2, 4]


def test_arguments_reach_every_part(team: Team) -> None:
    header = [team.add.s(1), team.add.s(2), team.add.si(3, 4)]
    handle = group(header).apply_async(args=(10,))
    team.settle(handle)
    assert handle.get() == [11, 12, 7]
    handle = group(header[:2]).apply_async(kwargs={"y": 5})
    team.settle(handle)
    assert handle.get() == [6, 7]


def test_a_list_can_be_applied_again(team: Team) -> None:
    whole = chord([team.add.s(1, 1)], team.tell.s())
    first, second = whole.apply_async(), whole.apply_async()
    team.settle(first, second)
    assert first.id != second.id
    assert team.told_of("tell") == [[[2]], [[2]]]


def test_a_generator_can_be_read_once(team: Team) -> None:
    whole = group(team.add.s(n) for n in range(2))
    whole.apply_async()
    with pytest.raises(CanvasError, match="can be read only once"):
        whole.apply_async()


def test_the_first_part_has_run_before_the_last_is_there(team: Team) -> None:
    crew = team.yard.crew()
    before: list[int] = []

    def parts() -> Iterator[Any]:
        for n in range(3):
            if n == 2:
                crew.work(1)
                before.append(len(team.told))
            yield team.tell.si(n, "told")

    handle = group(parts()).apply_async()
    team.settle(handle)
    assert before[0] > 0
    assert handle.get() == list(range(3))


def test_parts_retry_by_themselves(team: Team) -> None:
    handle = group(team.flaky.s(n, n) for n in range(3)).apply_async()
    team.settle(handle)
    assert handle.get() == [[0, 0], [1, 1], [2, 2]]
    assert sorted(team.told_of("flaky")) == [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]
    attempts = {one.number: one.attempt for one in handle.run.failures()}
    assert set(attempts) == {2, 3}


def test_max_retries_are_the_task_s_own(team: Team) -> None:
    handle = chord([team.flaky.s(1, 9), team.add.s(1)], team.tell.s()).apply_async()
    team.settle(handle)
    assert [retries for _, retries in team.told_of("flaky")] == [0, 1, 2, 3]
    assert handle.state == "FAILURE"
    with pytest.raises(PartFailed, match=r"Part 1 of run \d+ raised ValueError: try 3") as caught:
        handle.get()
    assert (caught.value.error, caught.value.part) == ("ValueError", 1)
    assert team.told_of("tell") == []
    assert handle.run.status() is RunStatus.PARTIAL


def test_a_failure_keeps_the_body_away_and_is_told_once(team: Team) -> None:
    team.broken = {3, 7}
    body = team.tell.s()
    body.link_error(team.new_errback.s())
    body.link_error(team.old_errback.s())
    handle = chord([team.add.s(n) for n in range(10)], body).apply_async()
    team.settle(handle)
    assert team.told_of("tell") == []
    ((task, words),) = team.told_of("new errback")
    assert task == "team.tell"
    assert words.startswith("Dependency ")
    assert words.endswith(" raised ValueError('3 is broken')")
    assert len(team.told_of("old errback")) == 1
    assert list(handle.results()) == [None if n in team.broken else n for n in range(10)]
    failure = handle.get(propagate=False)
    assert isinstance(failure, PartFailed)
    assert failure.part == 4
    # What Celery cannot: once the cause is gone the rest is done, and the body called.
    team.broken = set()
    handle.retry()
    team.settle(handle)
    assert handle.get() == list(range(10))
    assert team.told_of("tell") == [[list(range(10))]]
    assert len([one for one in team.told_of("add") if one[0] == 5]) == 1


@pytest.mark.parametrize("policy", ["isolate", "skip"])
def test_the_body_is_told_of_failures_where_they_are_allowed(team: Team, policy: str) -> None:
    team.broken = {1, 2}
    header = group([team.add.s(n) for n in range(4)], on_failure=policy)
    handle = (header | team.tell.s()).apply_async()
    team.settle(handle)
    ((summary,),) = team.told_of("tell")
    failures = summary.pop("failures")
    assert summary == {
        "run": int(handle.id),
        "status": "partial",
        "parts": 4,
        "succeeded": 2,
        "failed": 2 if policy == "isolate" else 0,
        "skipped": 0 if policy == "isolate" else 2,
    }
    assert [(one["part"], one["error"]) for one in failures] == [
        (2, "ValueError: 1 is broken"),
        (3, "ValueError: 2 is broken"),
    ]
    assert handle.successful()
    assert handle.get()["parts"] == 4


def test_the_first_failure_may_stop_it(team: Team) -> None:
    team.broken = {1}
    header = group([team.add.s(n) for n in range(50)], on_failure="stop")
    whole = header | team.tell.s()
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    assert handle.run.status() is RunStatus.FAILED
    assert len(team.told_of("add")) < 50
    assert [words[0] for words in team.told_of("new errback")] == ["team.tell"]
    assert team.told_of("tell") == []
    with pytest.raises(PartFailed, match="Part 2 of run"):
        handle.get()


def test_a_failing_body_calls_its_error_callbacks(team: Team) -> None:
    team.broken = {"body"}
    body = team.tell.s()
    body.link_error(team.new_errback.s())
    body.link_error(team.old_errback.s())
    handle = chord([team.add.s(1)], body).apply_async()
    team.settle(handle)
    assert team.told_of("new errback") == [["team.tell", "'the body is broken'"]]
    assert len(team.told_of("old errback")) == 1
    assert len(team.told_of("tell")) == 1
    record = handle.run.record()
    assert record.status is RunStatus.FAILED
    with pytest.raises(PartFailed, match="the callback failed for good: KeyError") as caught:
        handle.get()
    assert (caught.value.error, caught.value.part) == ("KeyError", None)
    # An operator calls it again.
    team.broken = set()
    handle.run.finish()
    team.settle(handle)
    assert handle.get() == [1]


def test_the_body_retries_by_itself(team: Team) -> None:
    seen = []

    @team.task()
    def body(results: list[int]) -> int:
        seen.append((list(results), body.request.retries))
        if body.request.retries < 2:
            raise body.retry(countdown=0, max_retries=2)
        return 42

    handle = chord([team.add.s(1), team.add.s(2)], body.s()).apply_async()
    team.settle(handle)
    assert handle.get() == 42
    assert seen == [([1, 2], 0), ([1, 2], 1), ([1, 2], 2)]


def test_links(team: Team) -> None:
    part = team.add.s(1, 1)
    part.link(team.tell.s("of the part"))
    body = team.tell.s("of the body")
    body.link(team.tell.s("behind the body"))
    whole = chord([part], body)
    whole.link(team.tell.s("behind the chord"))
    handle = whole.apply_async(link=team.tell.si("immutable"))
    team.settle(handle)
    assert sorted(map(json.dumps, team.told_of("tell"))) == sorted(
        map(
            json.dumps,
            [
                [2, "of the part"],
                [[2], "of the body"],
                [[2], "behind the body"],
                [[2], "behind the chord"],
                ["immutable"],
            ],
        )
    )


def test_what_follows_the_body(team: Team) -> None:
    handle = chain(group(team.add.s(1), team.add.s(2)), team.tell.s(), team.tell.s("last"))()
    team.settle(handle)
    assert team.told_of("tell") == [[[1, 2]], [[1, 2], "last"]]


def test_error_callbacks_of_each_part(team: Team) -> None:
    team.broken = {1, 2}
    own = team.add.s(1)
    own.link_error(team.old_errback.s())
    whole = group(own, team.add.s(2), team.add.s(3))
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    assert len(team.told_of("old errback")) == 1
    assert sorted(team.told_of("new errback")) == [
        ["team.add", "1 is broken"],
        ["team.add", "2 is broken"],
    ]
    with pytest.raises(PartFailed, match="Part 1"):
        handle.get()


@pytest.mark.parametrize("allowed", [True, False])
def test_celery_s_setting_for_error_callbacks_of_headers(team: Team, allowed: bool) -> None:
    team.app.conf.task_allow_error_cb_on_chord_header = allowed
    team.broken = {1, 2}
    whole = chord([team.add.s(n) for n in range(4)], team.tell.s())
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    told = [task for task, _ in team.told_of("new errback")]
    assert told == ([*["team.add"] * 2, "team.tell"] if allowed else ["team.tell"])


def test_chains_as_parts(team: Team) -> None:
    row = chain(team.add.s(1, 1), team.add.s(10), team.add.s(100))
    handle = group(row, team.add.s(5)).apply_async()
    team.settle(handle)
    assert handle.get() == [112, 5]


def test_a_chain_goes_on_where_it_has_asked_for_a_retry(team: Team) -> None:
    seen = []

    @team.task()
    def second(value: int) -> int:
        seen.append((value, second.request.retries, second.request.parent_id))
        if second.request.retries < 2:
            raise second.retry(countdown=0)
        return value + 1

    first = team.add.s(1, 1)
    first.link(team.tell.s("linked"))
    handle = group(chain(first, second.s(), team.add.s(10))).apply_async()
    team.settle(handle)
    assert handle.get() == [13]
    assert len([one for one in team.told_of("add") if one == [1, 1]]) == 1
    assert [one[:2] for one in seen] == [(2, 0), (2, 1), (2, 2)]
    assert len({one[2] for one in seen}) == 1
    assert team.told_of("tell") == [[2, "linked"]], "once, when the part is done"


def test_a_retry_may_change_arguments(team: Team) -> None:
    seen: list[Any] = []

    @team.task()
    def walk(at: int, *, step: int = 1) -> int:
        seen.append((at, step))
        if at < 3:
            raise walk.retry(args=(at + step,), kwargs={"step": step}, countdown=0)
        return at

    handle = group(walk.s(0, step=2)).apply_async()
    team.settle(handle)
    assert (handle.get(), seen) == ([4], [(0, 2), (2, 2), (4, 2)])


def test_ignore_and_ignore_result(team: Team) -> None:
    @team.task()
    def ignored() -> None:
        raise Ignore

    @team.task(ignore_result=True)
    def silent() -> int:
        return 1

    handle = chord([ignored.s(), silent.s(), team.add.s(3)], team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == [None, None, 3]


def test_reject(team: Team) -> None:
    calls: list[int] = []

    @team.task()
    def back() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise Reject("not now", requeue=True)
        return 1

    @team.task(name="team.away")
    def away() -> None:
        raise Reject("not mine")

    handle = group(back.s()).apply_async()
    team.settle(handle)
    assert (handle.get(), len(calls)) == ([1], 3)
    for policy in (None, "stop"):
        header = group([away.s(), team.add.s(1)], on_failure=policy)
        handle = chord(header, team.tell.s()).apply_async()
        team.settle(handle)
        assert handle.run.status() is RunStatus.PARTIAL
        assert team.told_of("tell") == []
        with pytest.raises(PartFailed, match="rejected by itself: not mine"):
            handle.get()


@pytest.mark.parametrize("value", [object(), "x" * 70_000], ids=["no JSON", "too large"])
def test_results_that_cannot_be_kept(team: Team, value: Any) -> None:
    @team.task()
    def give() -> Any:
        return value

    handle = chord([give.s(), team.add.s(1)], team.tell.s()).apply_async()
    team.settle(handle)
    with pytest.raises(PartFailed, match=r"Part 1 .* returned"):
        handle.get()
    # Nobody asks for them.
    handle = chord([give.s(), team.add.s(1)], team.tell.si("fine")).apply_async()
    team.settle(handle)
    assert handle.get() == "fine"


def test_many_results_are_a_sequence(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_of_parts, "MOST_LISTED", 5)
    monkeypatch.setattr(results_of_parts, "PAGE", 4)
    seen: list[Any] = []

    @team.task()
    def body(results: Sequence[int]) -> int:
        seen.append(type(results))
        assert isinstance(results, Sequence)
        assert (len(results), results[6], results[-1], results[3:5]) == (10, 6, 9, [3, 4])
        return sum(results)

    handle = chord([team.add.s(n) for n in range(10)], body.s()).apply_async()
    team.settle(handle)
    assert handle.get() == 45
    assert seen == [results_of_parts.Results]


def test_tasks_in_front_give_their_value_to_each_part(team: Team) -> None:
    handle = chain(
        team.add.s(1), team.add.s(1), group(team.add.s(10), team.add.si(0)), team.tell.s()
    ).apply_async(args=(5,))
    assert handle.leading is not None
    assert handle.state == "PENDING"
    team.settle()
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    # 5 + 1, with 1 in front of it; then 10 more.
    assert handle.get() == [17, 0]
    assert team.told_of("tell") == [[[17, 0]]]


def test_a_failure_in_front_cancels_the_rest(team: Team) -> None:
    team.broken = {1}
    whole = chain(team.add.s(1), group(team.add.s(10)), team.tell.s())
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    assert handle.leading is not None
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.state == "REVOKED"
    assert team.told_of("tell") == []
    ((_, words),) = team.told_of("new errback")
    assert "1 is broken" in words
    with pytest.raises(PartFailed, match="1 is broken"):
        handle.get()


def test_within_a_transaction_nothing_runs_before_the_commit(team: Team) -> None:
    with Session(team.yard.engine) as session:
        handle = group([team.add.s(1)]).apply_async(session=session)
        session.rollback()
    with pytest.raises(RunNotFound):
        handle.run.record()
    with Session(team.yard.engine) as session:
        handle = chord([team.add.s(1)], team.tell.s()).apply_async(session=session)
        session.commit()
    team.settle(handle)
    assert handle.get() == [1]


def test_the_same_key_is_the_same_run(team: Team) -> None:
    def parts(until: int) -> Iterator[Any]:
        for n in range(30):
            if n == until:
                raise OSError("the power has failed")
            yield team.add.s(n)

    told = "header of run .* ended early at part 25.* apply the canvas again with the idempotency"
    with pytest.raises(SourceError, match=told):
        chord(parts(25), team.tell.si("x")).apply_async(idempotency_key="tonight")
    (run,) = team.yard.bulk.runs()
    team.yard.settle(team.yard.bulk.run(run.id))
    assert team.told_of("tell") == []
    handle = chord(parts(-1), team.tell.si("x")).apply_async(idempotency_key="tonight")
    team.settle(handle)
    assert (handle.run.id, handle.get()) == (run.id, "x")
    assert len({x for x, _ in team.told_of("add")}) == 30
    again = chord(parts(-1), team.tell.si("x")).apply_async(idempotency_key="tonight")
    assert again.id == handle.id


def test_of_a_key_the_body_counts_and_the_parts_do_not(team: Team) -> None:
    handle = chord([team.add.s(1)], team.tell.s()).apply_async(idempotency_key="tonight")
    team.settle(handle)
    again = chord([team.add.s(2)], team.tell.s()).apply_async(idempotency_key="tonight")
    assert (again.id, again.get()) == (handle.id, [1])
    with pytest.raises(IdempotencyConflict):
        chord([team.add.s(1)], team.add.s()).apply_async(idempotency_key="tonight")


def test_a_mistake_in_a_lazy_header_ends_the_run(team: Team) -> None:
    def parts() -> Iterator[Any]:
        for n in range(10):
            yield team.add.s(n)
        yield team.add.s(11).set(queue="elsewhere")

    with pytest.raises(
        SourceError,
        match=r"at part 10, so the run has failed: team.add asks for the queue 'elsewhere'",
    ):
        group(parts()).apply_async()


def test_the_queue_is_what_the_parts_ask_for(team: Team) -> None:
    team.app.conf.task_routes = {"team.add": {"queue": "sums"}}
    assert group(team.add.s(1)).apply_async().run.record().queue == "sums"
    assert group(team.tell.s(1)).apply_async().run.record().queue == "celery"
    asked = group(team.add.s(1).set(queue="own")).apply_async()
    assert asked.run.record().queue == "own"
    with pytest.raises(CanvasError, match="asks for the queue 'own'"):
        chord([team.add.s(1)], team.tell.s().set(queue="own")).apply_async(queue="other")


def test_verbs(team: Team) -> None:
    handle = group([team.add.s(n) for n in range(5)]).apply_async()
    handle.pause()
    team.settle(handle)
    assert team.told == []
    assert handle.run.status() is RunStatus.PAUSED
    with pytest.raises(CeleryTimeout, match="still paused after 0 s: resume it, and it goes on"):
        handle.get(timeout=0)
    handle.resume()
    team.settle(handle)
    assert handle.progress.rows_done == 5
    handle = group([team.add.s(n) for n in range(5)]).apply_async()
    handle.revoke()
    team.settle(handle)
    assert (handle.state, handle.failed()) == ("REVOKED", True)
    handle.revoke()
    with pytest.raises(PartFailed, match="revoked"):
        handle.get()


def test_a_handle_is_short_to_look_at(team: Team) -> None:
    handle = group([team.add.s(1)]).apply_async()
    assert (repr(handle), f"{handle}") == (f"<canvas run {handle.id}>", handle.id)


def test_a_part_is_named_by_its_number(team: Team) -> None:
    """What a failure's number means: the signature, as it was given."""
    told = team.tell.si("done")
    header = [team.add.s(1, y=2), team.add.s(5, 5) | team.add.s(6), team.add.si(7).on_error(told)]
    handle = group(header).apply_async()
    first, row, last = (handle.part(number) for number in (1, 2, 3))
    assert (first.task, first.args, first.kwargs) == ("team.add", (1,), {"y": 2})
    assert [task.args for task in row.tasks] == [(5, 5), (6,)]  # type: ignore[attr-defined]
    assert last.immutable
    assert [one["args"] for one in last.options["link_error"]] == [["done"]]
    again = group([first, row, last]).apply_async()
    team.settle(handle, again)
    assert handle.get() == again.get() == [3, 16, 7]
    assert handle.results()[3 - 1] == 7
    for number in (0, 4):
        with pytest.raises(IndexError, match=f"no part {number}: parts count from 1"):
            handle.part(number)


def test_it_is_found_again(team: Team) -> None:
    handle = group([team.add.s(1)]).apply_async()
    team.settle(handle)
    found = result(team.app, handle.id)
    assert isinstance(found, CanvasResult)
    assert found.get() == [1]
    other = team.yard.run()
    with pytest.raises(CanvasError, match=r"use bulk.run\("):
        result(team.app, other.id)


def test_a_part_through_the_session_is_done_exactly_once(team: Team) -> None:
    team.broken = {2}
    handle = group([team.count.s(n) for n in (1, 2, 3)]).apply_async()
    team.settle(handle)
    with Session(team.yard.engine) as session:
        rows = session.execute(select(Goods.id, Goods.version).where(Goods.id <= 3)).all()
    assert sorted(map(tuple, rows)) == [(1, 1), (2, 0), (3, 1)], "what has failed is rolled back"
    team.broken = set()
    handle.retry()
    team.settle(handle)
    assert [team.yard.versions()[n] for n in (1, 2, 3)] == [1, 1, 1]


def test_a_task_nobody_knows_holds_the_run(team: Team) -> None:
    handle = group([team.app.signature("team.unknown")]).apply_async()
    team.settle(handle)
    record = handle.run.record()
    assert record.status is RunStatus.HELD
    assert "team.unknown is not known to this worker" in (record.reason or "")
    with pytest.raises(CeleryTimeout, match=r"still held after 0 s \(.*not known.* and resume it"):
        handle.get(timeout=0)


def test_the_eager_mode_works_at_once(team: Team) -> None:
    team.app.conf.task_always_eager = True
    try:
        handle = chord([team.add.s(n, n) for n in range(3)], team.tell.s()).apply_async()
        assert handle.get(timeout=0) == [0, 2, 4]
        handle = chain(team.add.s(1), group(team.add.s(1), team.add.s(2)), team.tell.s())()
        assert handle.get(timeout=0) == [2, 3]
    finally:
        team.app.conf.task_always_eager = False


def test_a_countdown_delays_the_whole(team: Team) -> None:
    handle = group([team.add.s(1)]).apply_async(countdown=3600)
    crew = team.yard.first_crew
    crew.tick()
    crew.work(1)
    assert team.told == []
    assert handle.run.record().not_before is not None


def test_a_part_s_own_countdown_delays_it(team: Team) -> None:
    handle = group([team.add.s(1).set(countdown=2), team.add.s(2)]).apply_async()
    team.settle(handle)
    assert [x for x, _ in team.told_of("add")] == [2, 1]
    assert handle.run.failures() == []


def test_parents_and_roots_are_those_of_who_applies_it(team: Team) -> None:
    seen: dict[str, Any] = {}

    @team.task()
    def look() -> None:
        request = look.request
        seen["part"] = (request.root_id, request.parent_id)

    @team.task()
    def apply() -> str:
        seen["task"] = apply.request.id
        return group([look.s()]).apply_async().id

    own = apply.apply()
    team.settle(result(team.app, own.get()))
    assert seen["part"] == (seen["task"], seen["task"])


def test_postgres_a_deadlock_in_its_session_costs_nothing(postgres_yard: Yard) -> None:
    team = Team(postgres_yard)
    calls: list[int] = []

    @team.task()
    def clash() -> str:
        session = breakbulk.current_chunk().session
        calls.append(1)
        if len(calls) < 3:
            session.execute(text("DO $$ BEGIN RAISE 'in the way' USING ERRCODE = '40P01'; END $$"))
        return "done"

    handle = group(clash.s()).apply_async()
    team.settle(handle)
    assert (handle.get(), len(calls)) == (["done"], 3)
    assert handle.run.failures() == []


def test_an_error_of_its_session_that_is_its_own_fails_it(team: Team) -> None:
    @team.task()
    def twice() -> None:
        session = breakbulk.current_chunk().session
        session.execute(insert(Goods), [{"id": 1}])

    handle = group(twice.s()).apply_async()
    team.settle(handle)
    with pytest.raises(PartFailed, match="IntegrityError"):
        handle.get()
    assert len(handle.run.failures()) == 1


def test_tasks_in_front_within_a_transaction_and_with_a_key(team: Team) -> None:
    def apply(session: Session | None = None) -> CanvasResult:
        whole = chain(team.add.s(1), group(team.add.s(10)), team.tell.s())
        return whole.apply_async(idempotency_key="tonight", session=session)

    with Session(team.yard.engine) as session:
        apply(session)
        session.rollback()
    assert team.yard.count("runs") == 0
    with Session(team.yard.engine) as session:
        handle = apply(session)
        session.commit()
    again = apply()
    assert handle.leading is not None
    assert again.leading is not None
    assert (again.id, again.leading.id) == (handle.id, handle.leading.id)
    assert team.yard.count("runs") == 2
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.get() == [11]
    assert apply().get() == [11]


def test_rows_may_be_in_another_database(clean_engine: Engine, tmp_path: Path) -> None:
    rows = create_engine(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    Base.metadata.create_all(rows)
    with rows.begin() as connection:
        connection.execute(insert(Goods), [{"id": number} for number in (1, 2, 3)])
    yard = Yard(clean_engine, shared=True, data=rows, at_least_once=True)
    team = Team(yard)
    team.broken = {3}
    whole = chain(team.add.s(1), group(team.add.s(10), team.count.si(2), team.count.si(3)))
    body = team.tell.s()
    body.link(team.tell.s("linked"))
    handle = (whole | body).apply_async()
    assert handle.leading is not None
    yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.state == "FAILURE"
    team.broken = set()
    handle.retry()
    team.settle(handle)
    assert handle.get() == [11, None, None]
    assert team.told_of("tell") == [[[11, None, None]], [[11, None, None], "linked"]]
    with rows.connect() as connection:
        versions = connection.execute(select(Goods.version).order_by(Goods.id)).scalars().all()
    assert versions == [0, 1, 1]
    yard.close()
    rows.dispose()


def test_a_part_starts_a_canvas_of_its_own_in_its_transaction(team: Team) -> None:
    started: list[str] = []

    @team.task()
    def start(n: int) -> None:
        session = breakbulk.current_chunk().session
        inner = group([team.add.s(n), team.add.s(n + 1)])
        started.append(inner.apply_async(session=session).id)
        if start.request.retries < 1:
            raise start.retry(countdown=0)

    handle = group([start.s(10)]).apply_async()
    team.settle(handle)
    rolled_back, kept = started
    inner = result(team.app, kept)
    team.settle(inner)
    assert inner.get() == [10, 11]
    assert len(team.yard.bulk.runs()) == 2, f"{rolled_back} was rolled back with its attempt"


@pytest.mark.parametrize("when", [{"countdown": 1e15}, {"eta": datetime.max.replace(tzinfo=UTC)}])
def test_a_retry_that_is_further_away_than_the_calendar_goes(
    team: Team, when: dict[str, Any]
) -> None:
    @team.task(bind=True)
    def never(self: Any) -> None:
        raise self.retry(**when)

    handle = group([never.s(), team.add.s(1)]).apply_async()
    crew = team.yard.first_crew
    crew.tick()
    crew.work(1)
    assert [chunk.status for chunk in handle.run.chunks()] == ["waiting", "succeeded"]
    assert "the next try" in (handle.progress.waits or "")


def test_a_part_may_change_what_it_is_given_in_place(team: Team) -> None:
    seen: list[list[int]] = []

    @team.task(bind=True)
    def shorten(self: Any, numbers: list[int]) -> str:
        seen.append(list(numbers))
        numbers.pop()
        if numbers:
            raise self.retry(args=(numbers,), countdown=0)
        return "done"

    handle = group([shorten.s([1, 2, 3])]).apply_async()
    team.settle(handle)
    assert (handle.get(), seen) == (["done"], [[1, 2, 3], [1, 2], [1]])


def test_each_part_has_a_value_of_its_own_from_the_task_in_front(team: Team) -> None:
    @team.task()
    def give() -> list[int]:
        return [1, 2]

    @team.task()
    def take(numbers: list[int]) -> list[int]:
        numbers.append(3)
        return numbers

    handle = chain(give.s(), group(take.s() for _ in range(3))).apply_async()
    assert handle.leading is not None
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.get() == [[1, 2, 3]] * 3
