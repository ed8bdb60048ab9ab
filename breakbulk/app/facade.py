"""The composition root, and the one facade for web, command line and worker."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, Literal, TypeVar, Unpack, dataclass_transform

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from breakbulk import parts, worker
from breakbulk.app.backlog import backlog_of, places_of
from breakbulk.app.handle import RunHandle, who
from breakbulk.app.nudging import Nudges
from breakbulk.app.pruning import prune_old
from breakbulk.app.scaling import Scaling
from breakbulk.app.starting import Starting
from breakbulk.app.tokens import Tokens
from breakbulk.app.webhooks import Webhooks
from breakbulk.broker import Broker, CeleryApp, CelerySignature, Links
from breakbulk.domain.backlog import TARGET_SECONDS, Backlog
from breakbulk.domain.chunk import RunId
from breakbulk.domain.finding import Finding
from breakbulk.domain.nouns import CANVAS_JOB
from breakbulk.domain.options import JobOptions
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.sizing import SizeOptions
from breakbulk.domain.status import RunStatus
from breakbulk.domain.throttle import Limits
from breakbulk.errors import CanvasError, ConfigurationError, OverlapError
from breakbulk.jobs import JobSpec, Registry, declare
from breakbulk.ledger import Database, Ledger, migrations
from breakbulk.ledger.database import Target
from breakbulk.ledger.faults import translated
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.schema import HEAD
from breakbulk.ledger.workers import Worker
from breakbulk.runner import doctor, inline
from breakbulk.runner import submit as submitting
from breakbulk.runner.context import Context, Notify
from breakbulk.runner.load import Tell
from breakbulk.runner.prune import Pruned
from breakbulk.runner.runtime import Runtime, check_data
from breakbulk.runner.vault import Vault
from breakbulk.settings import Settings

T = TypeVar("T")
log = logging.getLogger("breakbulk")

_instances: weakref.WeakSet[Breakbulk] = weakref.WeakSet()


class Breakbulk:
    """Breakbulk in one application.

    Args:
        database: where the ledger and the rows are: a URL, an ``Engine``, a ``sessionmaker``, or
            a callable that returns one of these and is called once in each process.
        celery: the team's Celery application; its workers do the work.
        schema: PostgreSQL schema of our tables; a prefix of their names on SQLite.
        data: where the rows are, when that is another database.
        at_least_once: accept that then a crash may process a chunk twice.
        context: what is put around each call of a job's code, as in
            ``lambda _handed: flask_app.app_context()``; see ``Context``.
        notify: who is told, in the transaction, that a run is submitted or has ended; see
            ``Notify``.
        secret_key: what seals parameters that are marked ``Masked``: a text of at least 32
            characters, or several, of which the first seals and each opens. Default: the
            environment variable ``BREAKBULK_SECRET_KEY``, several parted by commas.
        jobs: those that it knows; default its own and the unbound ones.
        settings: the knobs; single ones may be given by name instead.

    Raises:
        ConfigurationError: something of this cannot work.
    """

    def __init__(
        self,
        database: Target,
        *,
        celery: CeleryApp | None = None,
        schema: str = "breakbulk",
        data: Target | None = None,
        at_least_once: bool = False,
        context: Context | None = None,
        notify: Notify | None = None,
        secret_key: str | Sequence[str] | None = None,
        jobs: Registry | None = None,
        settings: Settings | None = None,
        **knobs: float | str,
    ) -> None:
        if settings is not None and knobs:
            raise ConfigurationError("Give either settings= or single settings by name, not both.")
        try:
            # That each knob is of its type is looked at by Settings itself.
            chosen = settings or Settings(**knobs)  # type: ignore[arg-type]
        except TypeError as error:
            raise ConfigurationError(f"Unknown setting: {error}.") from error
        ledger = Database(database, schema_name=schema)
        rows = check_data(
            ledger,
            None if data is None else Database(data, schema_name=schema),
            at_least_once=at_least_once,
        )
        self.jobs = Registry() if jobs is None else jobs
        vault = Vault.of(secret_key)
        self.runtime = Runtime(Ledger(ledger), rows, self.jobs, chosen, context, notify, vault)
        #: By which machines are known to the REST API.
        self.tokens = Tokens(self.runtime)
        self.celery = celery
        #: How a process of its own finds it, as ``-A`` takes it, where no module has it.
        self.address: str | None = None
        self._broker: Broker | None = None
        #: For our own front doors; everybody else submits.
        self.starting = Starting(self.runtime, lambda: self._broker)
        self.webhooks = Webhooks(self.runtime)
        #: For whoever scales workers.
        self.scaling = Scaling(self.runtime)
        if celery is not None:
            self._broker = Broker(celery)
            worker.install(
                celery,
                self.runtime,
                send=self._broker.send_lanes,
                send_link=self._broker.send_link,
                submit=self._submit_by_name,
                target=self,
            )
            parts.declare_parts(celery, self.runtime, self.jobs.add)
            parts.install_release(celery, self.starting.release, self.starting.cancel_awaiting)
        _instances.add(self)

    @staticmethod
    def of(celery: object) -> Breakbulk | None:
        """The Breakbulk that was made for a Celery application."""
        return next((one for one in _instances if one.celery == celery), None)

    # Declaring

    @dataclass_transform(kw_only_default=True, frozen_default=True)
    def job(self, cls: type[T] | None = None, /, **options: Unpack[JobOptions]) -> Any:
        """Declare a job of this application.

        Args:
            options: those of ``JobOptions``: how large its chunks are, how they are retried and
                what becomes of those that fail.

        Raises:
            DeclarationError: the class has no ``source()`` or ``process()``, an option is wrong,
                or another job has the name.
        """

        def decorate(target: type[T]) -> type[T]:
            return declare(target, self.jobs.add, **options)

        return decorate if cls is None else decorate(cls)

    def autodiscover(self, packages: Iterable[str]) -> None:
        """Import packages with all their modules, so that unbound jobs in them are found."""
        for name in packages:
            package = import_module(name)
            for module in walk_packages(getattr(package, "__path__", []), f"{name}."):
                import_module(module.name)

    def import_modules(self) -> None:
        """Import what Celery's ``imports`` and ``autodiscover_tasks`` name, as a worker does."""
        if self.celery is not None:
            self.celery.loader.import_default_modules()

    # Starting

    def submit(
        self,
        job: Any,
        *,
        session: Session | scoped_session[Any] | None = None,
        queue: str | None = None,
        idempotency_key: str | None = None,
        overlap: str = "refuse",
        submitted_by: str | None = None,
        link: Links = None,
        link_error: Links = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        finish_by: datetime | float | None = None,
        chunk_size: int | Literal["auto"] | None = None,
        chunk_seconds: float | None = None,
        loading: Tell | None = None,
        **limits: Unpack[Limits],
    ) -> RunHandle:
        """Start a run of a job.

        Args:
            job: an instance of a declared job, which is its parameters.
            session: a session whose transaction the run is to be part of: no commit, no run.
            queue: the Celery queue, instead of the job's.
            idempotency_key: a second submit with the same key returns the first run.
            overlap: what to do when a run of the same job and parameters still goes on:
                ``"refuse"``, ``"wait"`` for it to end, or ``"allow"`` both.
            submitted_by: shown to operators; default the operating system's user and host.
            link: a Celery signature, or several, to be sent when the run has succeeded.
            link_error: the same for a run that ends in any other way.
            countdown: start it so many seconds later.
            eta: start it then: a time with its zone. One that has passed means now.
            finish_by: when it should have ended: a time with its zone, or so many seconds from now.
                It is a wish, which :meth:`backlog` and ``breakbulk autoscale`` go by.
            chunk_size, chunk_seconds: instead of the job's.
            loading: told the run's number and how many items of its iterable are stored by now.
            limits: ``max_lanes``, and on what the run holds back (``ThrottleOptions``), instead of
                what the job says; None takes one away.

        Raises:
            UnknownJob, ParameterError, SourceError, OverlapError, IdempotencyConflict,
            ConfigurationError, SchemaError, LedgerUnreachable: nothing was written.
        """
        spec = self._startable(job)
        broker = self.starting.broker
        order = submitting.Order.checked(
            broker.queue_for(queue or spec.options.queue),
            submitted_by or who(),
            idempotency_key,
            overlap,
            broker.links(link, link_error),
            countdown=countdown,
            eta=eta,
            finish_by=finish_by,
            limits=limits,
            size=submitting.size_of(spec, chunk_size, chunk_seconds),
        )
        return self.starting.place(job, order, session=session, tell=loading)

    def signature(self, job: Any, **options: Any) -> CelerySignature:
        """A Celery signature that submits the job, for beat, links and chains.

        Args:
            job: an instance of a declared job.
            options: those of :meth:`submit`, except ``session`` and ``loading``.
        """
        spec = self._startable(job)
        parameters = self.runtime.vault.seal(spec, spec.dump(job))
        return self.starting.broker.submitting(spec.name, parameters, options)

    def plan(
        self, job: Any, *, queue: str | None = None, **size: Unpack[SizeOptions]
    ) -> submitting.Plan:
        """What submitting the job would do; nothing is written."""
        spec = self._startable(job)
        chosen, name = submitting.size_of(spec, **size), queue or spec.options.queue
        if self._broker is not None:
            name = self._broker.queue_for(name)
        with translated(), self.runtime.data.connect() as rows, self.runtime.data.reading(rows):
            return submitting.plan(rows, spec, job, name or "celery", chosen)

    def build(self, job: str, parameters: Mapping[str, Any]) -> Any:
        """An instance of a job from text, as a command line gives it.

        Raises:
            UnknownJob: there is no such job.
            ParameterError: a parameter is unknown, missing or mistyped.
        """
        return self.jobs.get(job).build(parameters, strict=False)

    # Looking

    def run(self, run_id: int) -> RunHandle:
        """A run by its number.

        Raises:
            RunNotFound: there is none.
        """
        handle = RunHandle(self.runtime, RunId(run_id), "", self.starting.nudge_if_possible)
        return replace(handle, job=handle.record().job)

    def runs(
        self,
        *,
        job: str | None = None,
        statuses: Iterable[RunStatus] | None = None,
        submitted_by: str | None = None,
        within: timedelta | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs, newest first; the next page is asked for with the last one's id as ``before``."""
        # The runs of a job whose code is gone are still there.
        name = None if job is None else self.jobs.name_of(job)
        with self.reading() as connection:
            found = self.runtime.ledger.runs.find(
                connection,
                job=name,
                statuses=statuses,
                submitted_by=submitted_by,
                within=within.total_seconds() if within else None,
                before=RunId(before) if before else None,
                limit=limit,
            )
        if not found and job is not None and not (before or statuses or submitted_by or within):
            self.jobs.get(job)
        return found

    def workers(self) -> list[Worker]:
        """Registered workers, also those whose lease has run out."""
        with self.reading() as connection:
            return self.runtime.ledger.workers.all(connection)

    def live_workers(self) -> list[Worker]:
        """Registered workers that live."""
        with translated(), self.runtime.database.connect() as connection:
            return doctor.live_workers(self.runtime, connection)

    def progress_of(self, runs: Sequence[Run]) -> dict[RunId, Progress]:
        """How far each of these runs is, in a handful of statements."""
        with self.reading() as connection:
            return self.runtime.ledger.reports.progress_of(connection, runs)

    def backlog(self, target: float = TARGET_SECONDS) -> Backlog:
        """The work that is left, by queue and by run, in seconds of work; zeros included.

        Args:
            target: within so many seconds what has no deadline is to be done.

        Raises:
            ConfigurationError: it is no number of seconds, more than 0.
        """
        with self.reading() as connection:
            return backlog_of(self.runtime, connection, self.places(), target)

    def places(self) -> set[tuple[str, str]]:
        """The queue of each declared job, with its name; without a broker, only those that say."""
        return places_of(self.jobs, self._broker)

    def is_led(self) -> bool:
        """Whether a worker's steward leads: without one nobody rescues the dead."""
        if not self.runtime.database.is_postgresql:
            # There a file lock says who, and any live worker takes it.
            return bool(self.live_workers())
        with self.reading() as connection:
            return self.runtime.ledger.vitals.leader(connection) is not None

    def tag(self) -> str:
        """Changes whenever a look at all the runs, or the workers, would show something else."""
        with self.reading() as connection:
            return self.runtime.ledger.charts.tag_of_all(connection)

    def lanes(self) -> list[Lane]:
        """Lanes at work now, in the order of their runs."""
        with self.reading() as connection:
            return self.runtime.ledger.lanes.all(connection)

    def shown_parameters(self, run: Run) -> dict[str, Any]:
        """A run's parameters without secrets: of an unknown job, any might be one."""
        spec = self.jobs.all().get(run.job)
        return dict.fromkeys(run.parameters, "***") if spec is None else spec.shown(run.parameters)

    def doctor(self) -> list[Finding]:
        """Look the installation over: database, tables, broker, workers, runs, settings."""
        broker = self._broker
        return doctor.examine(
            self.runtime,
            ping=None if broker is None else broker.ping,
            queue_for=(lambda queue: queue or "") if broker is None else broker.queue_for,
            settings=None if self.celery is None else self.celery.conf,
        )

    # Tidying

    def prune(
        self,
        older_than: timedelta,
        *,
        job: str | None = None,
        statuses: Iterable[RunStatus] | None = None,
        dry_run: bool = False,
        by: str | None = None,
        tell: Callable[[Pruned], None] | None = None,
    ) -> list[Pruned]:
        """Take runs that ended that long ago out of the ledger, with all that it knows of them.

        Whoever is interrupted leaves a run that is ``pruning``; the next call goes on with it.

        Args:
            job: only runs of this job.
            statuses: only runs that ended like this.
            dry_run: only say what would become of each.
            by: who asks; default the operating system's user and host.
            tell: told of each run when it is gone, or is kept for a reason.

        Raises:
            ParameterError: nothing can have ended then, or a status is not one of an end.
        """
        return prune_old(
            self.runtime,
            older_than,
            job=None if job is None else self.jobs.name_of(job),
            statuses=statuses,
            dry_run=dry_run,
            actor=by or who(),
            tell=tell,
        )

    # Tables

    def upgrade(self) -> tuple[str | None, str]:
        """Create or upgrade the ledger's tables; versions before and after.

        Raises:
            SchemaError: they are newer than this version.
        """
        with translated():
            return migrations.upgrade(self.runtime.database)

    def upgrade_sql(self) -> str:
        """The SQL that :meth:`upgrade` runs, for a database administrator."""
        return migrations.upgrade_sql(self.runtime.database)

    def schema_version(self) -> tuple[str | None, str]:
        """The version of the tables that are there, and the one that is needed."""
        with self.reading() as connection:
            return migrations.current(connection, self.runtime.database), HEAD

    def include_name(self, name: str | None, kind: str, _parents: object = None) -> bool:
        """For the application's own Alembic environment, so that autogenerate lets us be.

        ``context.configure(…, include_name=bulk.include_name)``: it leaves out our tables on
        SQLite, and our schema on PostgreSQL where ``include_schemas`` is on.
        """
        return migrations.include_name(self.runtime.database, name, kind)

    def check_schema(self) -> None:
        """Make sure the tables are this version's.

        Raises:
            SchemaError: they are missing, too old or too new.
            LedgerUnreachable: the database does not answer.
        """
        with self.reading() as connection:
            migrations.require_current(connection, self.runtime.database)

    # Behind the scenes

    @property
    def broker(self) -> Broker | None:
        """The way to the broker, if there is one."""
        return self._broker

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads the ledger."""
        with translated(), self.runtime.database.reading() as connection:
            yield connection

    def work_here(self, queue: str) -> None:
        """Work in this very process, as a lane of the worker in the environment.

        It is what a steward starts when there is no broker.
        """
        inline.work_lane(self.runtime, worker.worker_id(), queue, worker.lent_deadlines())

    def _startable(self, job: Any) -> JobSpec:
        """The declared job behind an instance, if it is one that people start.

        Raises:
            UnknownJob: there is no such job.
            CanvasError: it is Breakbulk's own.
        """
        spec = self.jobs.of(job)
        if spec.name == CANVAS_JOB:
            raise CanvasError(
                "A group, chord or chain is started by applying it, as in"
                " group(add.s(n, n) for n in range(10)).apply_async()."
            )
        return spec

    def _submit_by_name(
        self, job: str, parameters: dict[str, Any], options: dict[str, Any]
    ) -> int | None:
        spec = self.jobs.get(job)
        instance = spec.build(self.runtime.vault.open(spec, parameters))
        try:
            return int(self.submit(instance, **{"submitted_by": "celery", **options}).id)
        except OverlapError as error:
            log.info("not submitted: %s", error)
            return None

    def nudge(self, run: Run) -> None:
        """Ask for the lanes that a run may have; losing the message only costs time."""
        self.starting.nudge(run)

    @property
    def nudges(self) -> Nudges:
        """Who asks for lanes behind the caller's back."""
        return self.starting.nudges
