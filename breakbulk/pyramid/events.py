"""Events for ``@subscriber``: each is sent inside the transaction that makes it true.

A subscriber's writes commit together with what it is told of, once. A subscriber of an end that
raises is a failing callback: everything is rolled back and tried again by the job's retry policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry
from sqlalchemy.orm import Session

from breakbulk.domain.status import RunStatus
from breakbulk.runner.chunk import FinishedRun, SubmittedRun


class RunEvent:
    """Something that happened to a run.

    Attributes:
        run: a ``SubmittedRun`` or a ``FinishedRun``: its id, job, parameters and more.
    """

    run: SubmittedRun | FinishedRun

    def __init__(self, run: SubmittedRun | FinishedRun) -> None:
        self.run = run

    @property
    def job(self) -> str:
        """The job's name."""
        return self.run.job

    @property
    def request(self) -> Any:
        """The request that submits the run; in a worker, a prepared one."""
        return self.run.request

    @property
    def session(self) -> Session:
        """The session of the transaction: what is written through it commits with the event."""
        return self.run.session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.run.id} of {self.job}>"


class RunSubmitted(RunEvent):
    """A run is written down; sent in the transaction of the request that submits it.

    If that does not commit, there was no run. A subscriber that raises refuses the submit. It is
    sent for runs that a command line or a schedule submits, too, in their transactions.
    """

    run: SubmittedRun


class RunFinished(RunEvent):
    """A run has ended, in whatever way: subscribe to this for all of them, or to one below.

    Sent in the worker, in the transaction that ends the run, after the job's own ``finished`` or
    ``failed``, and for jobs without these. Once a round: a run that is retried ends again.
    """

    run: FinishedRun


class RunSucceeded(RunFinished):
    """Every row is done."""


class RunPartial(RunFinished):
    """The run is done, but rows are in quarantine or were skipped."""


class RunFailed(RunFinished):
    """A policy, the tolerance or the callback has ended the run; ``event.run.reason`` says why."""


class RunCancelled(RunFinished):
    """The run was cancelled; ``event.run.reason`` says why."""


class RowsQuarantined(RunEvent):
    """A round has put rows in quarantine; sent before the event of its end, where that is sent.

    Attributes:
        count: how many rows. ``event.request.breakbulk.run(event.run.id).errors()`` has them.
    """

    run: FinishedRun

    def __init__(self, run: FinishedRun) -> None:
        super().__init__(run)
        self.count = run.quarantined


_ENDS: dict[RunStatus, type[RunFinished]] = {
    RunStatus.SUCCEEDED: RunSucceeded,
    RunStatus.PARTIAL: RunPartial,
    RunStatus.FAILED: RunFailed,
    RunStatus.CANCELLED: RunCancelled,
}


class Subscribers:
    """Whom the application tells of runs: the subscribers in its registry.

    Args:
        registry: the application's.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, run: SubmittedRun | FinishedRun, /) -> None:
        """Send the events of a run; what a subscriber raises is the caller's to deal with."""
        for event in events_of(run):
            self._registry.notify(event)


def events_of(run: SubmittedRun | FinishedRun) -> Iterator[RunEvent]:
    """The events that tell of a run, in order."""
    if isinstance(run, SubmittedRun):
        yield RunSubmitted(run)
        return
    if run.quarantined:
        yield RowsQuarantined(run)
    yield _ENDS[run.status](run)


class JobPredicate:
    """``@subscriber(RunSucceeded, breakbulk_job=ProcessWarehouse)``: only runs of that job.

    Args:
        job: its class, or its name.
    """

    def __init__(self, job: type[Any] | str, _config: Configurator) -> None:
        if isinstance(job, str):
            self._name = job
            return
        spec = getattr(job, "__breakbulk_job__", None)
        if spec is None:
            raise ConfigurationError(
                f"breakbulk_job={job!r} is not a job: give a class that is declared with"
                " @breakbulk.job, or a job's name."
            )
        self._name = str(spec.name)

    def text(self) -> str:
        """What introspection shows."""
        return f"breakbulk_job = {self._name}"

    phash = text

    def __call__(self, event: object) -> bool:
        """Whether the event is one of the job's."""
        return getattr(event, "job", None) == self._name
