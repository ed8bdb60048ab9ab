"""A task's own code is called as a worker would, and its end told apart."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, _state, current_task, signals
from celery.app import trace
from celery.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)

from breakbulk.errors import TaskUnworkable
from breakbulk.parts.calling import Done, End, Failed, Rejected, Retried, call, limits_of, task_of
from breakbulk.parts.requests import Place, request_of
from breakbulk.parts.signatures import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT = datetime(2026, 1, 31, 22, tzinfo=UTC)


def invoke(task: Any, *args: Any, retries: int = 0, **options: Any) -> End:
    """Call a task as part 3 of run 7."""
    step = Step(task.name, args, options=options)
    place = Place(7, _AT, 3, "celery", None, None)
    request = request_of(
        place,
        step,
        task_id=place.task_id(step),
        parent_id=None,
        retries=retries,
        limits=limits_of(task, step, {}),
        args=args,
        kwargs={},
    )
    return call(task, request, args, {})


@contextmanager
def heard(*names: str) -> Iterator[list[tuple[str, Any]]]:
    """Listen to Celery's signals."""
    told: list[tuple[str, Any]] = []
    receivers = []
    for name in names:

        def receive(sender: Any = None, name: str = name, **_: Any) -> None:
            told.append((name, sender.name))

        getattr(signals, name).connect(receive, weak=False)
        receivers.append((name, receive))
    yield told
    for name, receive in receivers:
        getattr(signals, name).disconnect(receive)


def test_it_sees_a_proper_request(app: Celery) -> None:
    @app.task(bind=True, name="team.look")
    def look(self: Any, _one: int) -> dict[str, Any]:
        request = self.request
        assert current_task.request.id == request.id
        names = (
            "id",
            "task",
            "retries",
            "group",
            "group_index",
            "root_id",
            "parent_id",
            "args",
            "called_directly",
            "is_eager",
            "delivery_info",
            "headers",
            "chord",
            "timelimit",
        )
        assert request.hostname
        return {name: getattr(request, name) for name in names}

    end = invoke(look, 1, headers={"tenant": "x"}, retries=2)
    assert isinstance(end, Done)
    seen = end.value
    assert seen.pop("id") == seen.pop("root_id")
    assert seen == {
        "task": "team.look",
        "retries": 2,
        "group": "7",
        "group_index": 2,
        "parent_id": None,
        "args": (1,),
        "called_directly": False,
        "is_eager": True,
        "delivery_info": {
            "exchange": "",
            "routing_key": "celery",
            "priority": None,
            "redelivered": False,
        },
        "headers": {"tenant": "x"},
        "chord": None,
        "timelimit": [None, None],
    }


def test_its_id_is_the_same_in_every_attempt(app: Celery) -> None:
    @app.task(bind=True)
    def own(self: Any) -> str:
        return str(self.request.id)

    first, again = invoke(own), invoke(own, retries=1)
    assert first == again
    assert invoke(own, task_id="mine") == Done("mine")


def test_signals_fire_as_in_a_worker(app: Celery) -> None:
    @app.task(name="team.well")
    def well() -> int:
        return 1

    @app.task(name="team.ill")
    def ill() -> None:
        raise ValueError

    @app.task(name="team.again", bind=True)
    def again(self: Any) -> None:
        raise self.retry(countdown=1)

    names = ("task_prerun", "task_postrun", "task_success", "task_retry", "task_failure")
    with heard(*names) as told:
        for task in (well, ill, again):
            invoke(task)
    assert told == [
        ("task_prerun", "team.well"),
        ("task_success", "team.well"),
        ("task_postrun", "team.well"),
        ("task_prerun", "team.ill"),
        ("task_failure", "team.ill"),
        ("task_postrun", "team.ill"),
        ("task_prerun", "team.again"),
        ("task_retry", "team.again"),
        ("task_postrun", "team.again"),
    ]


def test_handlers_of_the_task_are_called(app: Celery) -> None:
    told: list[str] = []

    class Telling(app.Task):  # type: ignore[misc,name-defined]
        def before_start(self, *_: Any) -> None:
            told.append("before")

        def on_success(self, *_: Any) -> None:
            told.append("success")

        def on_failure(self, *_: Any) -> None:
            told.append("failure")

        def after_return(self, *_: Any) -> None:
            told.append("after")

    @app.task(base=Telling)
    def either(well: bool) -> None:
        if not well:
            raise ValueError

    invoke(either, True)
    invoke(either, False)
    assert told == ["before", "success", "after", "before", "failure", "after"]


def test_a_retry_is_told_and_not_sent(app: Celery) -> None:
    @app.task(bind=True, max_retries=3)
    def flaky(self: Any, x: int) -> None:
        try:
            {"a": 1}[str(x)]
        except KeyError as exc:
            raise self.retry(exc=exc, countdown=60) from None

    end = invoke(flaky, 1, retries=2)
    assert isinstance(end, Retried)
    assert (end.seconds, end.retries, end.args, end.kwargs) == (60, 3, (1,), {})
    assert isinstance(end.cause, KeyError)
    # The fourth would be one too many: what it has raised itself comes out.
    end = invoke(flaky, 1, retries=3)
    assert isinstance(end, Failed)
    assert isinstance(end.cause, KeyError)


def test_retries_have_their_words(app: Celery) -> None:
    @app.task(bind=True, default_retry_delay=7, max_retries=None)
    def flaky(self: Any, how: str) -> None:
        match how:
            case "default":
                raise self.retry()
            case "eta":
                raise self.retry(eta=datetime.now(UTC) + timedelta(seconds=100))
            case "other arguments":
                raise self.retry(args=("x",), kwargs={"y": 1}, time_limit=9)
            case "bare":
                raise Retry
            case "one at most":
                raise self.retry(max_retries=1)

    assert invoke(flaky, "default").seconds == 7  # type: ignore[union-attr]
    assert 90 < invoke(flaky, "eta").seconds <= 100  # type: ignore[union-attr]
    other = invoke(flaky, "other arguments")
    assert isinstance(other, Retried)
    assert (other.args, other.kwargs, other.limits) == (("x",), {"y": 1}, {"time_limit": 9.0})
    bare = invoke(flaky, "bare", retries=4)
    assert isinstance(bare, Retried)
    assert (bare.seconds, bare.retries, bare.args) == (0, 5, ("bare",))
    most = invoke(flaky, "one at most", retries=1)
    assert isinstance(most, Failed)
    assert isinstance(most.cause, MaxRetriesExceededError)


def test_autoretry_for_is_celery_s(app: Celery) -> None:
    @app.task(autoretry_for=(KeyError,), retry_backoff=10, retry_jitter=False, max_retries=2)
    def flaky(error: str) -> None:
        raise {"key": KeyError, "value": ValueError}[error]

    end = invoke(flaky, "key", retries=1)
    assert isinstance(end, Retried)
    assert (end.seconds, end.retries) == (20, 2)
    assert isinstance(invoke(flaky, "key", retries=2), Failed)
    assert isinstance(invoke(flaky, "value"), Failed)


def test_a_retry_through_the_class_is_the_same(app: Celery) -> None:
    class Article:
        @staticmethod
        @app.task(name="team.article", max_retries=5)
        def process(start: int) -> None:
            try:
                int(f"no number: {start}")
            except Exception as exc:  # noqa: BLE001
                raise Article.process.retry(exc=exc, countdown=60) from None

    end = invoke(Article.process, 500)
    assert isinstance(end, Retried)
    assert end.seconds == 60
    assert "no number: 500" in str(end.cause)


def test_ignored_and_rejected(app: Celery) -> None:
    @app.task
    def other(how: str) -> None:
        raise {"ignore": Ignore(), "reject": Reject("why"), "back": Reject("b", requeue=True)}[how]

    assert invoke(other, "ignore") == Done(None)
    assert invoke(other, "reject") == Rejected(requeue=False, reason="why")
    assert invoke(other, "back") == Rejected(requeue=True, reason="b")


def test_ignored_results_are_none(app: Celery) -> None:
    @app.task(ignore_result=True)
    def silent() -> int:
        return 1

    @app.task
    def loud() -> int:
        return 1

    assert invoke(silent) == Done(None)
    assert invoke(silent, ignore_result=False) == Done(1)
    assert invoke(loud, ignore_result=True) == Done(None)


def test_what_is_expired_is_not_run(app: Celery) -> None:
    @app.task
    def late() -> None:
        raise AssertionError

    with heard("task_revoked", "task_prerun") as told:
        end = invoke(late, expires=datetime.now(UTC) - timedelta(seconds=1))
    assert isinstance(end, Failed)
    assert isinstance(end.cause, TaskRevokedError)
    assert told == [("task_revoked", late.name)]


def test_limits(app: Celery) -> None:
    caught: list[type[BaseException]] = []

    @app.task(soft_time_limit=0.4, time_limit=0.8)  # type: ignore[call-overload, untyped-decorator]
    def long(*, catches: bool = False) -> str:
        try:
            time.sleep(60)  # cut short by the limit
        except SoftTimeLimitExceeded:
            caught.append(SoftTimeLimitExceeded)
            if not catches:
                raise
        time.sleep(60)  # likewise
        return "never"

    assert limits_of(long, Step(long.name, options={"time_limit": 9}), {}) == [9.0, 0.4]
    assert limits_of(long, Step(long.name), {"soft_time_limit": 3}) == [0.8, 3.0]
    end = invoke(long)
    assert isinstance(end, Failed)
    assert isinstance(end.cause, SoftTimeLimitExceeded)
    step = Step(long.name, kwargs={"catches": True})
    place = Place(7, _AT, 3, "celery", None, None)
    request = request_of(
        place,
        step,
        task_id="x",
        parent_id=None,
        retries=0,
        limits=limits_of(long, step, {}),
        args=(),
        kwargs=step.kwargs,
    )
    end = call(long, request, (), step.kwargs)
    assert isinstance(end, Failed)
    assert isinstance(end.cause, TimeLimitExceeded)


def test_a_hard_limit_that_is_swallowed_is_a_failure_all_the_same(app: Celery) -> None:
    @app.task(time_limit=0.05)  # type: ignore[call-overload, untyped-decorator]
    def careless() -> str:
        try:
            time.sleep(10)  # cut short by the limit
        except Exception:  # noqa: BLE001  (as in a loop that goes on with the next row)
            return "as if nothing had happened"
        return "never"

    end = invoke(careless)
    assert isinstance(end, Failed)
    assert isinstance(end.cause, TimeLimitExceeded)


def test_the_lane_s_own_limit_is_not_the_task_s_fault(app: Celery) -> None:
    @app.task
    def cut() -> None:
        raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        invoke(cut)


def test_an_exit_goes_on(app: Celery) -> None:
    @app.task
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        invoke(leave)


def test_a_task_nobody_knows_is_told_in_one_sentence(app: Celery) -> None:
    with pytest.raises(TaskUnworkable, match=r"team.unknown is not known to this worker: name its"):
        task_of(app, "team.unknown")


def test_a_tracer_that_others_have_wrapped_is_used(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    def watched() -> int:
        return 1

    assert invoke(watched) == Done(1)
    original, built = trace.build_tracer, []

    def watching(name: str, *args: Any, **options: Any) -> Any:
        built.append(name)
        return original(name, *args, **options)

    monkeypatch.setattr(trace, "build_tracer", watching)
    assert invoke(watched) == invoke(watched) == Done(1)
    assert built == [watched.name], "looked up anew, and built once"


def test_lanes_in_threads_may_meet_a_task_at_once(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="team.add")
    def add(x: int) -> int:
        return x + 1

    real = trace.build_tracer
    ends: list[End] = []
    other = threading.Thread(target=lambda: ends.append(invoke(add, 2)))
    both_build, one_is_through = threading.Event(), threading.Event()

    def build(*given: Any, **named: Any) -> Any:
        if other.ident is None:
            other.start()
            both_build.wait(0.2)  # in vain, if only one does at a time
        else:
            both_build.set()
            one_is_through.wait(10)
        return real(*given, **named)

    monkeypatch.setattr(trace, "build_tracer", build)
    assert invoke(add, 1) == Done(2)
    one_is_through.set()
    other.join()
    assert ends == [Done(3)]
    assert not {"on_success", "after_return"} & vars(add).keys()


def test_handlers_that_raise_change_nothing(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(app.Task):  # type: ignore[misc,name-defined]
        def on_success(self, *_: Any) -> None:
            raise KeyError("in the handler")

        def after_return(self, *_: Any) -> None:
            raise KeyError("in the other")

    @app.task(base=Clumsy, name="team.well")
    def well() -> int:
        return 1

    assert invoke(well) == Done(1)
    assert "on_success of the task team.well has raised" in caplog.text
    assert "after_return of the task team.well has raised" in caplog.text
    assert not {"on_success", "after_return"} & set(vars(well)), "the task is as it was"


def test_a_replaced_task_gives_the_other_s_value(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a worker, where Celery lets no task wait for another one.
    monkeypatch.setattr(_state, "_task_join_will_block", True)

    @app.task
    def other(x: int) -> int:
        return x + 1

    @app.task(bind=True)
    def one(self: Any) -> Any:
        return self.replace(other.s(1))

    @app.task(bind=True)
    def raising(self: Any) -> Any:
        # As Celery's documentation has it, so that a reader sees that it ends there.
        raise self.replace(other.s(2))

    @app.task(bind=True, ignore_result=True)
    def silent(self: Any) -> Any:
        self.replace(other.s(3))
        raise AssertionError("replace() has returned")

    assert [invoke(task) for task in (one, raising, silent)] == [Done(2), Done(3), Done(None)]
    assert one.apply().result == 2, "called in another way it is Celery's own"
    assert getattr(_state, "_task_join_will_block"), "as it was"  # noqa: B009  (no stub has it)
