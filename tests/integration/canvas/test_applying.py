"""How a canvas is applied, and what is held of it then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import TimeoutError as CeleryTimeout
from sqlalchemy import update
from sqlalchemy.orm import Session

from breakbulk import RunStatus
from breakbulk.canvas import CanvasResult, chain, chord, group, result, submitting
from breakbulk.errors import CanvasError, IdempotencyConflict, PartFailed, RunNotFound, SourceError
from breakbulk.ledger.sql import clock
from breakbulk.runner import awaiting, steward
from tests.integration.canvas.conftest import Team

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    with pytest.raises(PartFailed, match=r"^Run \d+ was revoked\.$"):
        handle.get()


def test_a_handle_is_short_to_look_at(team: Team) -> None:
    handle = group([team.add.s(1)]).apply_async()
    assert (repr(handle), f"{handle}") == (f"<canvas run {handle.id}>", handle.id)


def test_a_handle_says_how_often_its_parts_are_done(team: Team) -> None:
    handle = group([team.add.s(1)]).apply_async()
    assert handle.promise.startswith("at least once: a task manages its own transaction")
    assert "breakbulk.current_chunk().session" in handle.promise
    team.settle(handle)
    assert result(team.app, handle.id).promise == handle.promise


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
    with pytest.raises(CanvasError, match="'0b26f6a8-c52c' is no id of a canvas: give the id of"):
        result(team.app, "0b26f6a8-c52c")


# What nobody releases


@pytest.fixture
def tidies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steward looks at every tick, and has no patience."""
    monkeypatch.setattr(steward, "_TIDY_EVERY", 0.0)
    monkeypatch.setattr(awaiting, "PATIENCE", 0.0)


@pytest.mark.usefixtures("tidies")
@pytest.mark.parametrize("key", [None, "nightly"])
def test_a_group_whose_leading_task_was_never_submitted_is_cancelled(
    team: Team, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """It waited for ever."""
    placed, right = list[str](), submitting._place

    def place(bulk: Any, values: dict[str, Any], *given: Any) -> Any:
        if placed:
            raise KeyboardInterrupt
        placed.append(values["header"])
        return right(bulk, values, *given)

    monkeypatch.setattr(submitting, "_place", place)
    canvas = chain(team.add.s(1, 1), group(team.add.s(n) for n in range(3)), team.tell.s())
    with pytest.raises(KeyboardInterrupt):
        canvas.apply_async(idempotency_key=key)
    (run,) = team.yard.bulk.runs()
    team.yard.settle(team.yard.bulk.run(run.id))
    record = team.yard.bulk.run(run.id).record()
    assert record.status is RunStatus.CANCELLED
    assert "the task in front of it was never submitted" in str(record.reason)


@pytest.mark.usefixtures("tidies")
@pytest.mark.parametrize("broken", [False, True])
def test_a_group_whose_release_was_lost_goes_on_all_the_same(team: Team, *, broken: bool) -> None:
    """The broker may be flushed at any moment."""
    team.broken |= {1} if broken else set()
    canvas = chain(team.add.s(1, 1), group(team.add.s(n) for n in range(3)), team.tell.s())
    handle = canvas.apply_async()
    assert handle.leading is not None
    # Nothing is sent here: settle() of the yard only works.
    team.yard.settle(handle.leading, handle.run)
    record = handle.run.record()
    if broken:
        assert record.status is RunStatus.CANCELLED
        assert f"the task in front of it is partial in run {handle.leading.id}" in str(
            record.reason
        )
    else:
        assert record.status is RunStatus.SUCCEEDED
        assert handle.get() == [2, 3, 4]


@pytest.mark.usefixtures("tidies")
def test_a_task_in_front_is_not_pruned_before_its_value_is_where_it_is_to_go(team: Team) -> None:
    """Else the group is cancelled, because nobody is found in front of it any more."""
    canvas = chain(team.add.s(1, 1), group(team.add.s(n) for n in range(3)), team.tell.s())
    handle = canvas.apply_async()
    leading, crew = handle.leading, team.yard.first_crew
    assert leading is not None
    while leading.status() is not RunStatus.SUCCEEDED:
        crew.work()
    deliveries = team.yard.ledger.database.schema.deliveries
    with team.yard.transaction() as connection:
        # It was sent, and lost with its broker.
        connection.execute(update(deliveries).values(status="delivered", ended_at=clock()))
    assert leading.prune().kept == f"run {handle.run.id} awaits what came of it"
    team.yard.settle(handle.run)
    assert handle.get() == [2, 3, 4]
    assert leading.prune().kept is None


@pytest.mark.parametrize("on_failure", [None, "stop"])
def test_error_callbacks_of_a_group_behind_a_task_are_told_once(
    team: Team, on_failure: str | None
) -> None:
    team.broken = {2}
    parts = group([team.add.si(2)], on_failure=on_failure)
    handle = chain(team.add.s(1), parts).apply_async(link_error=team.old_errback.s())
    assert handle.leading is not None
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert len(team.told_of("old errback")) == 1


def test_who_waits_in_vain_is_told_for_what(team: Team) -> None:
    handle: Any = group(team.add.s(1)).apply_async(queue="nobody")
    with pytest.raises(CeleryTimeout, match="It waits: no worker is running"):
        handle.get(timeout=0.01)
    with pytest.raises(AttributeError, match="has no 'parent': header and body are one run"):
        _ = handle.parent
