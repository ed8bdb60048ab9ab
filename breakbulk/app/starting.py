"""Starting runs: in a transaction of our own or in the caller's, at once or later.

Beside :meth:`breakbulk.Breakbulk.submit` it serves Breakbulk's own front doors, whose orders can
say more than people may.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from breakbulk.app.aftercommit import after_commit
from breakbulk.app.handle import RunHandle
from breakbulk.app.joining import joinable
from breakbulk.app.nudging import Nudges, ask_for_lanes
from breakbulk.broker import Broker
from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.errors import ConfigurationError
from breakbulk.jobs import JobSpec
from breakbulk.ledger import migrations
from breakbulk.ledger.faults import translated
from breakbulk.runner import awaiting, inline, tracing
from breakbulk.runner import load as loading
from breakbulk.runner import submit as submitting
from breakbulk.runner.awaiting import starts_later
from breakbulk.runner.chunk import SubmittedRun
from breakbulk.runner.context import surrounded
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk")


class Starting:
    """How runs of one application are started.

    Args:
        broker: the way to the broker, if there is one.
    """

    def __init__(self, runtime: Runtime, broker: Callable[[], Broker | None]) -> None:
        self._runtime = runtime
        self._broker = broker
        self._schema_fits = False
        self.nudges = Nudges(self.nudge)

    @property
    def broker(self) -> Broker:
        """The way to the broker.

        Raises:
            ConfigurationError: there is none.
        """
        broker = self._broker()
        if broker is None:
            raise ConfigurationError(
                "Breakbulk has no Celery application to send work to:"
                " write Breakbulk(database=…, celery=app)."
            )
        return broker

    def place(
        self,
        job: Any,
        order: submitting.Order,
        *,
        session: Session | scoped_session[Any] | None = None,
        tell: loading.Tell | None = None,
    ) -> RunHandle:
        """Start a run of a job; :meth:`breakbulk.Breakbulk.submit` has the terms."""
        spec = self._runtime.jobs.of(job)
        with tracing.submission(spec.name, order.queue) as span:
            handle = self._place(spec, job, replace(order, trace=span.trace), session, tell)
            span.led_to(handle.id, created=handle.created)
        return handle

    def _place(
        self,
        spec: JobSpec,
        job: Any,
        order: submitting.Order,
        session: Session | scoped_session[Any] | None,
        tell: loading.Tell | None,
    ) -> RunHandle:
        broker = self.broker
        if broker.eager:
            # As Celery does: nobody wants to wait in the caller's process.
            order = replace(order, not_before=None)
        with translated():
            if session is not None:
                return self._place_within(session, spec, job, order, tell)
            database = self._runtime.database
            with database.connect() as connection:
                with database.reading(connection):
                    self._need_schema(connection)
                with (
                    self._rows(connection) as rows,
                    database.transaction(connection, patient=True),
                ):
                    submitted = submitting.submit(
                        self._runtime, connection, rows, spec=spec, job=job, order=order
                    )
                    if submitted.created and self._runtime.notify is not None:
                        with database.joined_session(connection) as own:
                            self._tell(submitted.run, own)
            ask = self.nudge_if_possible if broker.eager else self._ask_behind
            submitted = loading.load(self._runtime, submitted, spec, job, ask=ask, tell=tell)
        if submitted.created or submitted.loaded:
            self._begin(submitted.run)
        return self._handle(submitted)

    def release(self, run_id: int, value: str) -> bool:
        """Let a run start that awaits a value; False when it does not, or no more.

        Args:
            value: JSON text, kept as the run's incoming value.
        """
        with translated(), self._runtime.database.connect() as connection:
            run = awaiting.release(self._runtime, connection, RunId(run_id), value)
        if run is None:
            return False
        self._begin(run)
        return True

    def cancel_awaiting(self, run_id: int, why: str) -> bool:
        """Cancel a run that awaits a value which will not come; False when it does not.

        Args:
            why: in one sentence, for operators.
        """
        with translated(), self._runtime.database.connect() as connection:
            return awaiting.cancel_awaiting(self._runtime, connection, RunId(run_id), why)

    def nudge(self, run: Run) -> None:
        """Ask for the lanes that a run may have; losing the message only costs time."""
        ask_for_lanes(self._runtime, self.broker, run)

    def nudge_if_possible(self, run: Run) -> None:
        """The same, unless there is no broker or nobody to ask."""
        broker = self._broker()
        if broker is not None and not broker.eager:
            self.nudge(run)

    def _ask_behind(self, run: Run) -> None:
        if not starts_later(run):
            self.nudges.later(run)

    def _begin(self, run: Run) -> None:
        if run.status is not RunStatus.RUNNING or starts_later(run):
            return
        if self.broker.eager:
            inline.work_until_over(self._runtime, run, self.broker.send_link)
        else:
            self.nudge(run)

    def _place_within(
        self,
        session: Session | scoped_session[Any],
        spec: JobSpec,
        job: Any,
        order: submitting.Order,
        tell: loading.Tell | None,
    ) -> RunHandle:
        own = joinable(self._runtime.database, session)
        connection = own.connection()
        self._need_schema(connection)
        with self._rows(connection) as rows, loading.all_or_nothing(self._runtime, connection):
            submitted = submitting.submit(
                self._runtime, connection, rows, spec=spec, job=job, order=order
            )
            submitted = loading.load(
                self._runtime, submitted, spec, job, within=connection, tell=tell
            )
        if submitted.created:
            self._tell(submitted.run, own)
        if submitted.created or submitted.loaded:
            after_commit(own, lambda _session: self._begin_behind(submitted.run))
        return self._handle(submitted)

    def _begin_behind(self, run: Run) -> None:
        """Begin with a run that somebody's transaction has just committed.

        Whatever goes wrong here only costs time: the steward asks again, so nothing may reach the
        caller, and nothing may keep him waiting.
        """
        if run.status is not RunStatus.RUNNING:
            return
        if not self.broker.eager:
            self._ask_behind(run)
            return
        try:
            self._begin(run)
        except Exception:  # the run is committed, so this only costs time
            log.exception("run %s is submitted, but was not worked on", run.id)

    def _tell(self, run: Run, session: Session) -> None:
        """Tell whom the application wants told that a run is submitted."""
        if self._runtime.notify is None:
            return
        submitted = SubmittedRun(run, session)
        with surrounded(self._runtime.context, submitted):
            self._runtime.notify(submitted)
            session.flush()

    def _handle(self, submitted: submitting.Submitted) -> RunHandle:
        run = submitted.run
        return RunHandle(self._runtime, run.id, run.job, self.nudge_if_possible, submitted.created)

    @contextmanager
    def _rows(self, connection: Connection) -> Iterator[Connection]:
        if not self._runtime.at_least_once:
            yield connection
            return
        with self._runtime.data.connect() as rows, self._runtime.data.reading(rows):
            yield rows

    def _need_schema(self, connection: Connection) -> None:
        # Once in a process: tables that are there do not change under a running program.
        if not self._schema_fits:
            migrations.require_current(connection, self._runtime.database)
            self._schema_fits = True
