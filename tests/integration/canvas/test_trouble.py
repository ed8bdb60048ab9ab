"""What goes wrong around a canvas, or is done to it at the wrong moment."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import celery
import pytest
from celery import Task
from celery.exceptions import TimeoutError as CeleryTimeout
from sqlalchemy import update

from breakbulk.canvas import chord, group
from breakbulk.errors import PartFailed, RunNotFound, SourceError, StateError
from breakbulk.ledger.sql import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk.canvas import CanvasResult
    from tests.integration.canvas.conftest import Team


def wait_longer(team: Team, seconds: float) -> None:
    """What waits is due that much later than now, as after the database's clock was set back."""
    waiting = team.yard.ledger.database.schema.waiting
    with team.yard.transaction() as connection:
        connection.execute(update(waiting).values(not_before=clock(seconds)))


def test_a_clock_that_is_set_back_delays_a_retry_and_loses_nothing(team: Team) -> None:
    @team.task(name="team.later", bind=True)
    def later(self: Any) -> int:
        team.told.append(("later", self.request.retries))
        if not self.request.retries:
            raise self.retry(countdown=60)
        return int(self.request.retries)

    handle = chord([later.s()], team.tell.s()).apply_async()
    crew = team.yard.crew()
    crew.work_until(lambda: handle.progress.chunks_waiting)
    wait_longer(team, 3_600 + 60)
    crew.work()
    assert team.told == [("later", 0)]
    with pytest.raises(CeleryTimeout, match="the next try of a part is due in 36"):
        handle.get(timeout=0)
    # Somebody sets it right.
    team.yard.due()
    team.settle(handle)
    assert handle.get() == [1]


def test_a_worker_whose_clock_is_late_waits_for_the_rest(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = group([team.add.s(1, 1).set(countdown=0.2)]).apply_async()
    real = team.app.now
    monkeypatch.setattr(team.app, "now", lambda: real() - timedelta(hours=1))
    crew = team.yard.crew()
    crew.work_until(lambda: handle.progress.chunks_waiting)
    for _ in range(3):
        # It is due by the ledger's clock, and not by this worker's.
        team.yard.due()
        crew.work_until(lambda: handle.progress.chunks_waiting)
    assert team.told == []
    monkeypatch.undo()
    team.yard.due()
    team.settle(handle)
    assert handle.get() == [2]
    assert list(handle.run.failures()) == [], "no try was spent"


def test_results_that_were_pruned_are_not_taken_for_none(team: Team) -> None:
    handle = group([team.add.s(1, 1), team.add.s(2, 2)]).apply_async()
    team.settle(handle)
    results = handle.results()
    runs = team.yard.ledger.database.schema.runs
    with team.yard.transaction() as connection:
        connection.execute(update(runs).values(status="pruning"))
    with pytest.raises(StateError, match="is being pruned, and its results with it"):
        list(results)
    team.yard.bulk.prune(timedelta())
    for look in (lambda: list(results), handle.get, handle.ready, handle.results):
        with pytest.raises(RunNotFound):
            look()


def test_it_is_revoked_while_its_header_is_read(team: Team) -> None:
    def parts() -> Iterator[Any]:
        for number in range(3_000):
            if number == 2_000:
                bulk = team.yard.bulk
                bulk.run(bulk.runs()[0].id).cancel()
            yield team.add.s(number)

    handle = chord(parts(), team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.state == "REVOKED"
    assert team.told == []


def test_two_that_apply_the_same_key_at_once_get_one_run(team: Team) -> None:
    barrier = threading.Barrier(2)
    found: list[CanvasResult] = []

    def apply() -> None:
        def parts() -> Iterator[Any]:
            barrier.wait(30)
            yield from (team.add.s(n) for n in range(5))

        found.append(chord(parts(), team.tell.s()).apply_async(idempotency_key="tonight"))

    threads = [threading.Thread(target=apply) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    first, second = found
    assert first.id == second.id
    team.settle(first)
    assert first.get() == second.get() == list(range(5))
    assert len(team.told_of("tell")) == 1


def test_an_error_callback_that_raises_changes_nothing(team: Team) -> None:
    @team.task(name="team.bad_errback")
    def bad(request: Any, exc: BaseException, traceback: str) -> None:
        raise RuntimeError("nor does this work")

    team.broken.add(1)
    whole = chord([team.add.s(1), team.add.s(2)], team.tell.s())
    whole.link_error(bad.s())
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    with pytest.raises(PartFailed, match="Part 1 of run"):
        handle.get()
    assert len(team.told_of("new errback")) == 1


def test_who_waits_in_a_task_is_told_at_once(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a worker.
    monkeypatch.setattr("celery._state._task_join_will_block", True)

    @team.task(name="team.waits")
    def waits() -> None:
        group([team.add.s(1)]).apply_async().get(timeout=60)

    handle = group([waits.s()]).apply_async()
    team.settle(handle)
    failure = next(iter(handle.run.failures()))
    assert "Never call result.get() within a task" in failure.message


def test_a_base_class_s_own_handlers_are_called(team: Team) -> None:
    class Own(Task):  # type: ignore[type-arg]  # (no parameters at run time)
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            team.told.append(("before", *args))

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            team.told.append(("success", *args))

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            team.told.append(("retry", *args))

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            team.told.append(("failure", *args))

        def after_return(self, status: str, *_: Any) -> None:
            team.told.append(("after", status))

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["called", super().__call__(*args, **kwargs)]

    @team.task(name="team.own", base=Own, bind=True, max_retries=1, typing=False)
    def own(self: Any, how: str) -> str:
        if how == "retry" or (how == "once" and not self.request.retries):
            raise self.retry(countdown=0)
        return how

    handle = group([own.s("well"), own.s("once"), own.s("retry")]).apply_async()
    team.settle(handle)
    assert handle.results()[:] == [["called", "well"], ["called", "once"], None]
    assert sorted(team.told) == sorted(
        [
            *[("before", "well"), ("success", "well"), ("after", "SUCCESS")],
            *[("before", "once"), ("retry", "once"), ("before", "once"), ("success", "once")],
            *[("after", "SUCCESS"), ("before", "retry"), ("retry", "retry")],
            *[("before", "retry"), ("failure", "retry"), ("after", "FAILURE")],
        ]
    )


def test_options_of_a_part(team: Team) -> None:
    @team.task(name="team.request", bind=True)
    def request(self: Any) -> list[Any]:
        own = self.request
        return [own.id, own.chord, own.delivery_info["routing_key"]]

    parts = [
        request.s().set(task_id="mine", priority=9, queue="celery", serializer="pickle"),
        request.s().set(expires=-1),
        request.s().set(ignore_result=True),
    ]
    handle = group(parts).apply_async()
    team.settle(handle)
    assert handle.results()[:] == [["mine", None, "celery"], None, None]
    with pytest.raises(PartFailed, match=r"Part 2 of run .* raised .*TaskRevokedError: expired"):
        handle.get()


def test_what_cannot_be_kept_of_a_part_is_told_of_the_part(team: Team) -> None:
    most = team.yard.runtime.settings.max_item_bytes
    with pytest.raises(SourceError, match=f"Part 1 has .* bytes as JSON and may have {most}"):
        group([team.add.s("x" * most)]).apply_async()


def test_replace_does_not_come_back_as_in_a_worker(team: Team) -> None:
    @team.task(name="team.replaced", bind=True)
    def replaced(self: Any, several: bool) -> Any:
        one = team.add.s(4, 4)
        raise self.replace(celery.group([one, team.add.s(5, 5)]) if several else one)

    @team.task(name="team.starts", bind=True)
    def starts(self: Any) -> Any:
        return self.replace(group([team.add.s(1)]))

    handle = group([replaced.s(False), replaced.s(True), starts.s()]).apply_async()
    team.settle(handle)
    assert handle.results()[:] == [8, [8, 10], None]
    with pytest.raises(PartFailed, match=r"is no signature of Celery's.* let a task apply it"):
        handle.get()
