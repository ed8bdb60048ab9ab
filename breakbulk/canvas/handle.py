"""A canvas that was applied, with the verbs of Celery's results and those of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import assert_will_not_block  # type: ignore[attr-defined]  # (no stub has it)

from breakbulk.domain.status import FINISHED, ChunkStatus, RunStatus
from breakbulk.domain.verdict import CALLBACK_NUMBER
from breakbulk.errors import PartFailed, StateError, WaitTimeout
from breakbulk.ledger.faults import translated
from breakbulk.parts.results import Results, decode_result, listed
from breakbulk.parts.signatures import signature_of

if TYPE_CHECKING:
    from celery import Signature

    from breakbulk.app import Breakbulk, RunHandle
    from breakbulk.domain.progress import Progress
    from breakbulk.domain.run import Run
    from breakbulk.runner.retry import Retried

_GOES_ON = ("isolate", "skip")
_REVOKED = "revoked"
_ONE_RUN = "header and body are one run, whose parts have results(), and get() is the body's"
#: What Celery's results can do besides, and what takes its place.
_INSTEAD = {
    "parent": _ONE_RUN,
    "children": _ONE_RUN,
    "collect": _ONE_RUN,
    "graph": _ONE_RUN,
    "result": "ask get(propagate=False)",
    "info": "ask get(propagate=False)",
    "traceback": "ask run.failures()",
    "status": "ask state",
    "waiting": "ask not ready()",
    "iterate": "go through the handle itself when it has ended",
    "join_native": "ask get()",
    "iter_native": "go through the handle itself when it has ended",
    "then": "give the canvas a body, or link()",
    "save": "breakbulk.canvas.result(app, handle.id) finds it again",
    "forget": "the ledger keeps its runs",
    "delete": "the ledger keeps its runs",
}


@dataclass(frozen=True, slots=True, repr=False)
class CanvasResult:
    """A group, chord or chain at work. Whatever its size, looking at it costs the same.

    Its parts are done at least once: what they do outside of ``breakbulk.current_chunk().session``
    may be done again after a crash.

    Attributes:
        bulk: whose ledger it is in.
        run: the run, to be steered as any other.
        leading: the run of the tasks in front of the group, if there are any.
    """

    bulk: Breakbulk
    run: RunHandle
    leading: RunHandle | None = None

    def __repr__(self) -> str:
        # What a debugger shows asks no database.
        return f"<canvas run {self.id}>"

    def __str__(self) -> str:
        return self.id

    @property
    def id(self) -> str:
        """The run's number as text, which ``breakbulk.canvas.result`` takes."""
        return str(self.run.id)

    @property
    def state(self) -> str:
        """Celery's word for where it stands: PENDING, STARTED, SUCCESS, FAILURE or REVOKED."""
        return _state(self.run.record())

    @property
    def promise(self) -> str:
        """How often its parts are done, in words; the dashboard and the command line say the same.

        At least once, because a task manages its own transaction; what a part does through
        ``breakbulk.current_chunk().session`` is there exactly once.
        """
        return self.run.record().promise

    if not TYPE_CHECKING:  # which see a wrong name by themselves

        def __getattr__(self, name: str) -> Any:
            """Say what to do instead of what Celery's results can do and this cannot."""
            instead = _INSTEAD.get(name, "see the how-to on moving from a Celery chord")
            raise AttributeError(f"The handle of a canvas has no {name!r}: {instead}.")

    def ready(self) -> bool:
        """Whether it has ended."""
        return self.run.status() in FINISHED

    def successful(self) -> bool:
        """Whether it has ended well: all parts are done, or those that failed were allowed to."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether it has ended otherwise."""
        return self.state in (states.FAILURE, states.REVOKED)

    def get(
        self,
        timeout: float | None = None,
        *,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        **_: Any,
    ) -> Any:
        """Wait for the end: the body's result, or of a group the results of all parts.

        Args:
            timeout: seconds; None for as long as it takes.
            propagate: raise the failure; otherwise it is given back.
            disable_sync_subtasks: as in Celery: do not wait in a task, whose worker may be the one
                that is waited for.

        Raises:
            RuntimeError: it is asked for in a task.
            celery.exceptions.TimeoutError: it did not end in time. It goes on, unless it is paused
                or held.
            PartFailed: a part, or the body, has failed.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        try:
            self.run.wait(timeout)
        except WaitTimeout as late:
            waits = self.run.progress().waits
            told = "" if waits is None else f" It waits: {waits}."
            raise CeleryTimeout(f"{late}{told}") from late
        record = self.run.record()
        if _state(record) != states.SUCCESS:
            failure = self._failure(record)
            if propagate:
                raise failure
            return failure
        if record.parameters.get("body") is None:
            return listed(len(self), self._read)
        return decode_result(self._read(CALLBACK_NUMBER, CALLBACK_NUMBER).get(CALLBACK_NUMBER))

    def join(self, timeout: float | None = None, *, propagate: bool = True, **given: Any) -> Any:
        """The same as :meth:`get`, as Celery's results of groups call it."""
        return self.get(timeout, propagate=propagate, **given)

    def completed_count(self) -> int:
        """How many parts are done."""
        return self.run.progress().rows_done

    def results(self) -> Sequence[Any]:
        """What the parts have returned, in header order, read from the ledger when asked for.

        A part that has not ended, has failed or has returned nothing stands there as None; those
        of a chord whose body takes no results are not kept.
        """
        return Results(len(self), self._read)

    def part(self, number: int) -> Signature:
        """The signature of one part, as the ledger has it: what a failure's number means.

        Args:
            number: as in errors and summaries, from 1. Its result is ``results()[number - 1]``.

        Raises:
            IndexError: there is no such part, or it was not read yet.
        """
        runtime = self.run.runtime
        with translated(), runtime.database.reading() as connection:
            text = runtime.ledger.loads.find_item(connection, self.run.id, number)
        if text is None:
            raise IndexError(f"Run {self.run.id} has no part {number}: parts count from 1.")
        assert self.bulk.broker is not None
        return signature_of(json.loads(text), self.bulk.broker.app)

    def __len__(self) -> int:
        """How many parts there are, as far as the header was read."""
        progress = self.run.progress()
        return progress.rows_done if progress.rows_total is None else progress.rows_total

    def __bool__(self) -> bool:
        """Always true, as Celery's results are: there is something at work, however few parts."""
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results())

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.run.progress()

    def revoke(self, *_: Any, terminate: bool = False, **__: Any) -> None:
        """End it for good after the parts in hand; the body is not called.

        A body that is being called goes on, and what has ended stays as it is.

        Args:
            terminate: end the parts in hand, too.
        """
        for run in filter(None, (self.leading, self.run)):
            with suppress(StateError):
                run.cancel(force=terminate, reason=_REVOKED)

    def pause(self) -> RunStatus:
        """Begin no more parts."""
        return self.run.pause()

    def resume(self) -> RunStatus:
        """Go on."""
        return self.run.resume()

    def retry(self) -> Retried:
        """Try again the parts that failed; once all have succeeded the body is called.

        Raises:
            StateError: it has not ended, or nothing has failed.
        """
        return self.run.retry()

    def _read(self, low: int, high: int) -> dict[int, str]:
        runtime = self.run.runtime
        with translated(), runtime.database.reading() as connection:
            found = runtime.ledger.results.page(connection, self.run.id, low, high + 1)
            # Asked behind it: what is missing there is then no result, and not one that has gone.
            status = runtime.ledger.runs.get(connection, self.run.id).status
        if status is RunStatus.PRUNING:
            raise StateError(f"Run {self.run.id} is being pruned, and its results with it.")
        return found

    def _failure(self, record: Run) -> PartFailed:
        """What to raise: the first part that failed, or the body, or why the run has ended."""
        if record.status is RunStatus.CANCELLED:
            why = f": {record.reason}" if record.reason not in (None, _REVOKED) else ""
            return PartFailed(f"Run {self.run.id} was revoked{why}.", "TaskRevokedError")
        first = None if _of_body(record) else self._first_failed()
        if first is None:
            why = record.reason or f"it is {record.status}"
            latest = next((one for one in self.run.failures(1) if one.number is None), None)
            error = "" if latest is None else latest.error
            return PartFailed(f"Run {self.run.id}: {why}", error)
        number, error, message = first
        return PartFailed(
            f"Part {number} of run {self.run.id} raised {error}: {message}", error, number
        )

    def _first_failed(self) -> tuple[int, str, str] | None:
        given_up = [ChunkStatus.FAILED, ChunkStatus.SKIPPED]
        for chunk in self.run.chunks(statuses=given_up, limit=1):
            for failure in self.run.failures(1, chunk=(chunk.number, chunk.path)):
                return chunk.number, failure.error, failure.message
        return None


def _of_body(record: Run) -> bool:
    return record.callback_failed


def _state(record: Run) -> str:
    match record.status:
        case RunStatus.SUCCEEDED:
            return str(states.SUCCESS)
        case RunStatus.PARTIAL:
            forgiven = record.parameters.get("on_failure") in _GOES_ON
            return str(states.SUCCESS if forgiven else states.FAILURE)
        case RunStatus.FAILED:
            return str(states.FAILURE)
        case RunStatus.CANCELLED:
            return str(states.REVOKED)
    return str(states.PENDING if record.started_at is None else states.STARTED)
