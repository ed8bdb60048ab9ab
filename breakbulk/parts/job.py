"""The job behind every canvas: its items are signatures, its callback is the body.

Each ``Breakbulk`` that was made for a Celery application knows it, and so do that application's
workers. One part is one item is one chunk: a retry of one never rolls back another.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Any, ClassVar

from celery import Celery
from celery.exceptions import ChordError
from celery.utils.time import maybe_make_aware
from kombu.exceptions import EncodeError

from breakbulk.domain.nouns import CANVAS_JOB
from breakbulk.domain.status import RunStatus
from breakbulk.domain.verdict import (
    CALLBACK_NUMBER,
    INCOMING_NUMBER,
    Again,
    Hopeless,
    Kept,
    LeftOut,
)
from breakbulk.errors import ResultRefused, Snooze
from breakbulk.jobs import JobSpec, declare_keeping
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.parts.calling import (
    Done,
    End,
    Failed,
    Rejected,
    Retried,
    call,
    limits_of,
    task_of,
)
from breakbulk.parts.errbacks import tell_errbacks
from breakbulk.parts.release import cancelling, releasing
from breakbulk.parts.requests import Place, request_of
from breakbulk.parts.results import decode_result, encode_result, listed
from breakbulk.parts.signatures import Item, Step, step_of, steps_of, with_value
from breakbulk.parts.state import State
from breakbulk.runner.finish import callback_has_said
from breakbulk.runner.keeping import ItemChunk, ResultsRun
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.unit import troubled
from breakbulk.sources import Items

#: Failures that a summary lists, the first ones.
_LISTED = 100
#: What a group says of failures whose body takes all results, and is called with nothing less.
_ALL_OR_NOTHING = (None, "stop")
#: How long a body that was put back waits, in seconds.
_PUT_BACK = 1.0


class Parts:
    """Tasks of Celery in a group, with a body or without one.

    Attributes:
        header: the name of the first part's task, for people.
        body: the body, as an item.
        on_failure: what the group says of it; None: the body is called only if nothing failed.
        queue: where the run is worked on.
        incoming: the parts take a value that comes from whoever releases the run.
        releases: the run that is released with this one's value.
        errbacks: signatures to be told, once, when this run fails, beside those of the body.
        part_errbacks: signatures to be told of each part that fails, beside its own.
        root_id, parent_id: of the task that has applied the canvas, if one has.
    """

    header: str = ""
    body: dict[str, Any] | None = None
    on_failure: str | None = None
    queue: str = ""
    incoming: bool = False
    releases: int | None = None
    errbacks: list[Any] = field(default_factory=list)
    part_errbacks: list[Any] = field(default_factory=list)
    root_id: str | None = None
    parent_id: str | None = None

    app: ClassVar[Celery]
    runtime: ClassVar[Runtime]
    given: ClassVar[Iterable[Any]] = ()

    @staticmethod
    def shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What people see: names, and no arguments, which may be anything."""
        body = parameters.get("body")
        seen = {
            "header": parameters.get("header"),
            "body": None if body is None else body.get("task"),
            "on_failure": parameters.get("on_failure"),
        }
        return {name: value for name, value in seen.items() if value is not None}

    def source(self) -> Items[Any]:
        """Give the signatures, where the canvas is applied."""
        return Items(self.given)

    # One part

    def process(self, chunk: ItemChunk) -> Kept:
        """Run one part: its tasks one after the other."""
        (item,) = chunk
        steps = steps_of(item)
        state = State.read(chunk.kept_state)
        place = self._place(chunk.run.id, chunk.run.submitted_at, chunk.number)
        if chunk.kept_state is None:
            self._wait_for(steps[0])
        values: tuple[Any, ...] = (state.value,) if state.step else self._incoming(chunk.run.id)
        parent = place.task_id(steps[state.step - 1], state.step - 1) if state.step else None
        while True:
            step = steps[state.step]
            end, request = self._call(place, step, state, values, parent)
            _raise_if_ours(end, troubled=chunk.troubled)
            outgoing = (*state.outgoing, *self._linked(step, end))
            if isinstance(end, Retried):
                request |= self._as_written(chunk, item, state, values)
            if not isinstance(end, Done):
                raise self._part_ended(step, request, end, replace(state, outgoing=outgoing))
            values, parent = (end.value,), request["id"]
            if state.step + 1 == len(steps):
                break
            state = State(state.step + 1, end.value, outgoing=outgoing)
        if not self._keeps:
            return Kept(None, outgoing)
        try:
            result = encode_result(end.value, step.task, self.runtime.settings.max_result_bytes)
        except ResultRefused as refused:
            raise self._part_ended(step, request, Failed(refused), State()) from refused
        return Kept(result, outgoing)

    @property
    def _keeps(self) -> bool:
        """Whether anybody will ask for the parts' results."""
        return self.body is None or not self.body.get("immutable", False)

    def _wait_for(self, step: Step) -> None:
        eta = step.options.get("eta")
        if eta is not None:
            due = maybe_make_aware(_moment(eta), self.app.timezone)
            seconds = (due - self.app.now()).total_seconds()
            if seconds > 0:
                raise Snooze(seconds)

    def _as_written(
        self, chunk: ItemChunk, item: Item, state: State, values: tuple[Any, ...]
    ) -> dict[str, Any]:
        """What a step was called with, as it was before the task could change it in place."""
        step, kept = steps_of(item)[state.step], State.read(chunk.kept_state)
        before = values if state.step else self._incoming(chunk.run.id)
        return {
            "args": step.given(*before) if state.args is None else kept.args,
            "kwargs": step.kwargs if state.kwargs is None else kept.kwargs,
        }

    def _incoming(self, run_id: int) -> tuple[Any, ...]:
        if not self.incoming:
            return ()
        known: tuple[str | None] | None = self.__dict__.get("_incoming_value")
        if known is None:
            # Once in a lane's stay: it does not change.
            with self.runtime.database.reading() as connection:
                results = self.runtime.ledger.results
                text = results.get(connection, run_id, INCOMING_NUMBER)  # type: ignore[arg-type]
            known = (text,)
            object.__setattr__(self, "_incoming_value", known)
        # Each part has one of its own, which it may change.
        return (decode_result(known[0]),)

    def _call(
        self, place: Place, step: Step, state: State, values: tuple[Any, ...], parent: str | None
    ) -> tuple[End, dict[str, Any]]:
        task = task_of(self.app, step.task)
        args = step.given(*values) if state.args is None else state.args
        kwargs = step.kwargs if state.kwargs is None else state.kwargs
        request = request_of(
            place,
            step,
            task_id=place.task_id(step, state.step),
            parent_id=parent,
            retries=state.retries,
            limits=limits_of(task, step, state.limits),
            args=args,
            kwargs=kwargs,
        )
        return call(task, request, args, kwargs), request

    def _linked(self, step: Step, end: End) -> list[str]:
        if not isinstance(end, Done):
            return []
        return [
            text for link in step.listed("link") for text in with_value(link, self.app, end.value)
        ]

    def _part_ended(
        self, step: Step, request: dict[str, Any], end: End, state: State
    ) -> BaseException:
        """What is raised of a part that has not succeeded."""
        left = _left(end, request, state) if isinstance(end, Retried) else end
        if isinstance(left, Again):
            return left
        if isinstance(left, Rejected):
            if left.requeue:
                return Snooze(0)
            return LeftOut(f"{step.task} was rejected by itself: {left.reason}.")
        assert isinstance(left, Failed)
        told = self._tell([*step.listed("link_error"), *self.part_errbacks], request, left.cause)
        return _because(Hopeless(left.cause, (*state.outgoing, *told)), left.cause)

    def _tell(
        self, errbacks: Iterable[Any], request: dict[str, Any], error: BaseException
    ) -> tuple[str, ...]:
        lines = "".join(traceback.format_exception(error))
        return tell_errbacks(self.app, errbacks, request, error, lines)

    def _place(self, run_id: int, submitted_at: datetime, number: int) -> Place:
        return Place(run_id, submitted_at, number, self.queue, self.root_id, self.parent_id)

    # All of them

    def finished(self, run: ResultsRun) -> None:
        """Call the body, or say why it is not called."""
        summary = run.summary
        size = summary.chunks_done + summary.chunks_failed
        if self.releases is not None:
            self._release(run, failed=summary.chunks_failed > 0)
            return
        if summary.chunks_failed and self.on_failure in _ALL_OR_NOTHING:
            # Of those that stop at a failure only what was left out gets here.
            if self.body is not None:
                self._fail(run, self._first_failure(run) or ChordError("a part was left out"))
            return
        if self.body is None:
            return
        step, state = step_of(self.body), State.read(run.kept_state)
        values: tuple[Any, ...] = ()
        if not step.immutable and state.args is None:
            values = (self._summary(run, size),)
            if self.on_failure in _ALL_OR_NOTHING:
                values = (listed(size, lambda low, high: run.results(low, high + 1)),)
        place = self._place(run.id, run.submitted_at, CALLBACK_NUMBER)
        end, request = self._call(place, step, state, values, None)
        _raise_if_ours(end, troubled=troubled(run.session))
        trouble = self._kept(run, step, end) if isinstance(end, Done) else end
        if trouble is not None:
            raise self._body_ended(step, request, trouble, state)

    def _kept(self, run: ResultsRun, step: Step, end: Done) -> Failed | None:
        try:
            result = encode_result(end.value, step.task, self.runtime.settings.max_result_bytes)
        except ResultRefused as refused:
            return Failed(refused)
        if result is not None:
            run.keep(result)
        run.outgoing += self._linked(step, end)
        return None

    def _body_ended(
        self, step: Step, request: dict[str, Any], end: End, state: State
    ) -> BaseException:
        left: End | Again = end
        if isinstance(end, Rejected):
            why = RuntimeError(f"{step.task} was rejected by itself: {end.reason}")
            # Whatever it is called with, it will be called with again.
            left = Again(_PUT_BACK, why, state.write()) if end.requeue else Failed(why)
        elif isinstance(end, Retried):
            left = _left(end, request, state)
        if isinstance(left, Again):
            return left
        assert isinstance(left, Failed)
        errbacks = [*step.listed("link_error"), *self.errbacks]
        return _because(Hopeless(left.cause, self._tell(errbacks, request, left.cause)), left.cause)

    def failed(self, run: ResultsRun) -> None:
        """Tell the error callbacks why the body was not called, or failed with its process."""
        if self.releases is not None:
            self._release(run, failed=True)
        elif not callback_has_said(run.reason):
            reason = run.reason or f"run {run.id} is {run.status}"
            stopped = run.status is RunStatus.FAILED
            first = self._first_failure(run) if stopped else None
            # Of a group without a body each part has told its own.
            if first is None or self.body is not None:
                self._fail(run, first or ChordError(reason))

    def _fail(self, run: ResultsRun, error: BaseException) -> None:
        step = Step(CANVAS_JOB) if self.body is None else step_of(self.body)
        place = self._place(run.id, run.submitted_at, CALLBACK_NUMBER)
        request = request_of(
            place,
            step,
            task_id=place.task_id(step),
            parent_id=None,
            retries=0,
            limits=[None, None],
            args=step.args,
            kwargs=step.kwargs,
        )
        run.outgoing += self._tell([*step.listed("link_error"), *self.errbacks], request, error)

    def _first_failure(self, run: ResultsRun) -> ChordError | None:
        for number, error, message in run.failed_items(1):
            # The item is in the ledger; its signature may name its id itself.
            # In Celery's words, which scripts may look for.
            raised = f"{error.rpartition('.')[2]}({message!r})"
            return ChordError(f"Dependency {self._part_id(run, number)} raised {raised}")
        return None

    def _part_id(self, run: ResultsRun, number: int) -> str:
        place = self._place(run.id, run.submitted_at, number)
        return place.task_id(steps_of(run.item(number))[0])

    def _summary(self, run: ResultsRun, size: int) -> dict[str, Any]:
        """What the body is told where it is called although parts have failed."""
        summary = run.summary
        quarantined = summary.rows_quarantined
        return {
            "run": int(run.id),
            "status": str(run.status),
            "parts": size,
            "succeeded": summary.chunks_done,
            "failed": quarantined,
            "skipped": summary.chunks_failed - quarantined,
            "failures": [
                {
                    "part": number,
                    "task_id": self._part_id(run, number),
                    "error": f"{error}: {message}",
                }
                for number, error, message in run.failed_items(_LISTED)
            ],
        }

    def _release(self, run: ResultsRun, *, failed: bool) -> None:
        assert self.releases is not None
        if failed:
            first = next(iter(run.failed_items(1)), None)
            why = run.reason or "it was left out"
            if first is not None:
                why = f"{first[1]}: {first[2]}"
            why = f"the task before the group has failed in run {run.id}: {why}"
            run.outgoing.append(cancelling(self.app, self.queue, self.releases, why))
            return
        value = run.result(1) or "null"
        run.outgoing.append(releasing(self.app, self.queue, self.releases, value))


def declare_parts(app: Celery, runtime: Runtime, add: Callable[[JobSpec], None]) -> None:
    """Let an application know the job.

    Args:
        app: whose tasks the parts are.
        runtime: whose ledger keeps their results.
        add: registers the job.
    """
    own = {name: vars(Parts)[name] for name in Parts.__annotations__ if name in vars(Parts)}
    annotations = {
        name: hint for name, hint in Parts.__annotations__.items() if "ClassVar" not in str(hint)
    }
    made = type(
        Parts.__name__,
        (Parts,),
        {
            **own,
            "__doc__": Parts.__doc__,
            "__module__": Parts.__module__,
            "__annotations__": annotations,
            "app": app,
            "runtime": runtime,
        },
    )
    declare_keeping(made, add, name=CANVAS_JOB, chunk_size=1)


def _left(retried: Retried, request: dict[str, Any], state: State) -> Again | Failed:
    """What is left for the attempt that a task has asked for."""
    # What it was called with is in the ledger already, unless it wants something else.
    same_args = retried.args == request["args"]
    same_kwargs = retried.kwargs == request["kwargs"]
    left = replace(
        state,
        retries=retried.retries,
        args=state.args if same_args else retried.args,
        kwargs=state.kwargs if same_kwargs else retried.kwargs,
        limits=retried.limits,
    )
    try:
        return Again(retried.seconds, retried.cause, left.write())
    except (EncodeError, TypeError, ValueError) as error:
        return Failed(ResultRefused(f"A retry cannot be kept as JSON, or is too large ({error})."))


def _raise_if_ours(end: End, *, troubled: bool) -> None:
    """Let an error of our own transaction through: it is tried again at once where that helps."""
    if isinstance(end, Failed) and troubled and fault_of(end.cause) is not Fault.ROWS:
        raise end.cause


def _because(error: Hopeless, cause: BaseException) -> Hopeless:
    error.__cause__ = cause
    return error


def _moment(given: Any) -> datetime:
    return given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
