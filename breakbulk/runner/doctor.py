"""Looking an installation over: what is wrong, or will be, and what to do about it.

It only reads. What cannot be looked at because something beneath it is missing is left out: one
finding for one cause.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

import breakbulk
from breakbulk.domain.chunk import RunId
from breakbulk.domain.finding import Finding, Severity, Subject
from breakbulk.domain.nouns import CANVAS_JOB
from breakbulk.domain.run import Run
from breakbulk.domain.status import WORKABLE, RunStatus
from breakbulk.domain.throttle import OF_POSTGRESQL
from breakbulk.domain.throttling import ThrottleState
from breakbulk.errors import BreakbulkError, BrokerUnreachable
from breakbulk.ledger import migrations, pooling
from breakbulk.ledger.faults import translated
from breakbulk.ledger.gauges import blind_role
from breakbulk.ledger.schema import HEAD
from breakbulk.ledger.workers import Worker
from breakbulk.runner.celery_settings import check_settings
from breakbulk.runner.elsewhere import check_tasks
from breakbulk.runner.grace import Chunks, check_grace
from breakbulk.runner.liveness import liveness
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.vault import VARIABLE

_NOBODY = UUID(int=0)


def examine(
    runtime: Runtime,
    *,
    ping: Callable[[], str] | None,
    queue_for: Callable[[str | None], str],
    settings: Mapping[str, Any] | None,
) -> list[Finding]:
    """Look everything over.

    Args:
        ping: asks the broker for its address; None where there is no Celery application.
        queue_for: the queue that a job's lanes go to.
        settings: Celery's, if there is a Celery application.
    """
    findings = [*_broker(ping), *_secrets(runtime)]
    try:
        with translated(), runtime.database.connect() as connection:
            findings += _database(runtime, connection)
            findings += _schema(runtime, connection)
            if not any(finding.foundational for finding in findings if _is_ledger(finding)):
                findings += _life(runtime, connection, queue_for)
                workers = live_workers(runtime, connection)
                findings += _grace(runtime, connection, workers)
                findings += check_tasks(workers)
                here = {one.what for one in check_settings(settings or {}, runtime.settings)}
                findings += _settings_of(runtime, workers, here)
                findings += _gauges(runtime)
    except BreakbulkError as error:
        findings.append(Finding(Severity.ERROR, Subject.DATABASE, str(error)))
    if settings is not None:
        findings += check_settings(settings, runtime.settings)
    return findings


def _settings_of(runtime: Runtime, workers: list[Worker], here: set[str]) -> Iterable[Finding]:
    """What is wrong with settings of workers that is not so here: their command line, their age.

    Args:
        here: what is said of the settings of this process.
    """
    told: dict[Finding, list[Worker]] = {}
    for worker in workers:
        for finding in check_settings(worker.settings or {}, runtime.settings):
            if worker.settings and finding.severity is not Severity.OK and finding.what not in here:
                told.setdefault(finding, []).append(worker)
    for finding, those in told.items():
        names = ", ".join(f"{one.pid} on {one.host}" for one in those)
        word = "Worker" if len(those) == 1 else "Workers"
        yield replace(finding, what=f"{word} {names}: {finding.what}")


def _grace(runtime: Runtime, connection: Connection, workers: list[Worker]) -> Iterable[Finding]:
    known = {name for worker in workers for name in worker.jobs}
    jobs = {}
    with runtime.database.reading(connection):
        for spec in runtime.jobs:
            if spec.name in known and spec.name != CANVAS_JOB:
                longest = runtime.ledger.charts.longest_lately(connection, spec.name)
                jobs[spec.name] = Chunks(spec.options.policy.chunk_timeout, longest)
    yield from check_grace(workers, jobs)


def live_workers(runtime: Runtime, connection: Connection) -> list[Worker]:
    """Workers that live, on an idle connection.

    On SQLite that is asked of their file locks. This process's own lock is not tried: closing
    the file would give it up.
    """
    ledger, database = runtime.ledger, runtime.database
    if database.is_postgresql:
        with database.reading(connection):
            return ledger.workers.live(connection)
    with database.reading(connection):
        workers = ledger.workers.all(connection)
    here = [one for one in workers if one.pid == os.getpid()]
    if here:
        return here
    observer = Worker(_NOBODY, socket.gethostname(), os.getpid(), 0, "", (), (), "")
    dead = {one.id for one in liveness(runtime).dead(connection, observer)}
    return [one for one in workers if one.id not in dead]


def _is_ledger(finding: Finding) -> bool:
    return finding.subject in (Subject.DATABASE, Subject.SCHEMA)


def _broker(ping: Callable[[], str] | None) -> Iterable[Finding]:
    if ping is None:
        yield Finding(
            Severity.ERROR,
            Subject.BROKER,
            "Breakbulk has no Celery application, so nobody can be asked to work.",
            "Write Breakbulk(database=…, celery=app).",
        )
        return
    try:
        address = ping()
    except BrokerUnreachable as error:
        yield Finding(Severity.ERROR, Subject.BROKER, str(error))
        return
    yield Finding(Severity.OK, Subject.BROKER, f"The broker answers at {address}.")
    if address.startswith("memory:"):
        yield Finding(
            Severity.WARNING,
            Subject.BROKER,
            "The memory broker is this process's own, so no worker hears of anything.",
            "Use Redis, Valkey, RabbitMQ or SQS.",
        )


def _database(runtime: Runtime, connection: Connection) -> Iterable[Finding]:
    database = runtime.database
    with database.reading(connection):
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
        name = "PostgreSQL" if database.is_postgresql else "SQLite"
        yield Finding(Severity.OK, Subject.DATABASE, f"The ledger's database is {name} {version}.")
        if not database.is_postgresql:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            if mode != "wal":
                yield Finding(
                    Severity.WARNING,
                    Subject.DATABASE,
                    f"SQLite keeps its journal in mode {mode}, so readers and the writer block"
                    " each other.",
                    "Run PRAGMA journal_mode = WAL once on the file.",
                )
    if database.is_postgresql and pooling.facts(connection).pooled:
        yield Finding(
            Severity.NOTE,
            Subject.DATABASE,
            "A pooler stands between us and PostgreSQL, so statements are not prepared.",
            "Let it have more sessions than all workers have slots, two more for each worker, and"
            " one for who looks at throttles: who waits for one cannot show that it lives.",
        )
    if runtime.at_least_once:
        yield Finding(
            Severity.NOTE,
            Subject.DATABASE,
            "The rows are in another database than the ledger: a crash between the two commits"
            " processes a chunk twice (at_least_once=True).",
            "Make process() idempotent, or put the ledger beside the rows.",
        )


def _schema(runtime: Runtime, connection: Connection) -> Iterable[Finding]:
    try:
        with runtime.database.reading(connection):
            migrations.require_current(connection, runtime.database)
    except BreakbulkError as error:
        yield Finding(Severity.ERROR, Subject.SCHEMA, str(error))
        return
    yield Finding(Severity.OK, Subject.SCHEMA, f"The ledger's tables are of version {HEAD}.")


def _secrets(runtime: Runtime) -> Iterable[Finding]:
    for spec in runtime.jobs:
        if any(parameter.masked for parameter in spec.parameters.values()) and runtime.vault.closed:
            yield Finding(
                Severity.ERROR,
                Subject.JOBS,
                f"The job {spec.name} has a secret parameter, and there is no key to seal it with.",
                f"Give Breakbulk(secret_key=…) or set {VARIABLE}, the same text everywhere.",
            )


def _life(
    runtime: Runtime, connection: Connection, queue_for: Callable[[str | None], str]
) -> Iterable[Finding]:
    workers = live_workers(runtime, connection)
    with runtime.database.reading(connection):
        registered = runtime.ledger.workers.all(connection)
        runs = runtime.ledger.runs.active(connection)
        throttles = runtime.ledger.throttles.states(connection, [run.id for run in runs])
    if (frozen := runtime.database.writer(frozen=True)) is not None:
        yield Finding(
            Severity.ERROR,
            Subject.WORKERS,
            f"Process {frozen} is stopped and holds SQLite's only writer, so nobody can write.",
            f"Let it go on (kill -CONT {frozen}), or end it (kill -9 {frozen}): its chunk is done"
            " again.",
        )
    yield from _workers(runtime, workers, registered, any_runs=bool(runs))
    taking = [worker for worker in workers if not worker.draining]
    queues = {queue for worker in taking for queue in worker.queues}
    jobs = {job for worker in taking for job in worker.jobs}
    yield from _runs(runs, queues, jobs)
    yield from _throttled(runs, throttles)
    for spec in runtime.jobs if taking else ():
        if spec.name not in jobs:
            yield Finding(
                Severity.WARNING,
                Subject.JOBS,
                f"No worker has the code of the job {spec.name}.",
                "Restart the workers with the application as it is now.",
            )
        elif (queue := queue_for(spec.options.queue)) not in queues:
            yield Finding(
                Severity.WARNING,
                Subject.JOBS,
                f"No worker consumes {queue!r}, the queue of the job {spec.name}.",
                f"Start a worker with -Q {queue}.",
            )


def _workers(
    runtime: Runtime, live: list[Worker], registered: list[Worker], *, any_runs: bool
) -> Iterable[Finding]:
    for worker in live:
        state = ", shutting down" if worker.draining else ""
        yield Finding(
            Severity.OK,
            Subject.WORKERS,
            f"Worker {worker.pid} on {worker.host} has {worker.slots}"
            f" slot{'' if worker.slots == 1 else 's'} ({worker.pool})"
            f" for {', '.join(worker.queues)}{state}.",
        )
        if not worker.slots:
            yield Finding(
                Severity.WARNING,
                Subject.WORKERS,
                f"Worker {worker.pid} on {worker.host} has no slot left: threads cannot be ended,"
                " and each is stuck in a chunk that took too long.",
                "Restart it: its work goes on, meanwhile in processes of their own.",
            )
        if worker.version and worker.version.partition(" ")[0] != breakbulk.__version__:
            yield Finding(
                Severity.WARNING,
                Subject.WORKERS,
                f"Worker {worker.pid} on {worker.host} runs Breakbulk {worker.version},"
                f" here it is {breakbulk.__version__}.",
                "Finish the deployment: restart that worker.",
            )
    alive = {worker.id for worker in live}
    for worker in registered:
        if worker.id not in alive:
            yield Finding(
                Severity.WARNING,
                Subject.WORKERS,
                f"Worker {worker.pid} on {worker.host} is no longer heard from.",
                "Nothing: its chunks go to other workers.",
            )
    if not live:
        yield Finding(
            Severity.ERROR if any_runs else Severity.WARNING,
            Subject.WORKERS,
            "No worker is alive, so nothing is processed.",
            "Start one with: celery -A … worker",
        )
    if not runtime.database.is_postgresql and len({worker.host for worker in live}) > 1:
        yield Finding(
            Severity.ERROR,
            Subject.WORKERS,
            "Workers on several machines share a ledger on SQLite, which cannot work.",
            "Use PostgreSQL, or one machine.",
        )


def _throttled(runs: list[Run], states: dict[RunId, ThrottleState]) -> Iterable[Finding]:
    for run in runs:
        state = states.get(run.id)
        if run.status not in WORKABLE or state is None or not state.holds or state.reading is None:
            continue
        blind = state.reading.is_blind
        yield Finding(
            Severity.WARNING if blind else Severity.NOTE,
            Subject.RUNS,
            f"Run {run.id} of {run.job} is throttled: {state.reading.says}.",
            f"It goes on by itself; without that limit: breakbulk limit {run.id} --help",
        )


def _gauges(runtime: Runtime) -> Iterable[Finding]:
    """Whether what jobs hold back on can be seen."""
    asking = [
        spec.name
        for spec in runtime.jobs
        if any(spec.options.throttle.as_dict()[name] is not None for name in OF_POSTGRESQL)
    ]
    if not asking:
        return
    if not runtime.data.is_postgresql:
        yield Finding(
            Severity.ERROR,
            Subject.JOBS,
            f"The job {asking[0]} holds back on what only PostgreSQL can tell, so every submit is"
            " refused.",
            "Take max_replica_lag= and max_lock_waits= away, or use PostgreSQL.",
        )
        return
    with runtime.data.reading() as rows:
        role = blind_role(rows)
    if role is not None:
        yield Finding(
            Severity.WARNING,
            Subject.DATABASE,
            f"The role {role} may not see what the job {asking[0]} holds back on, so its runs hold"
            " back for that reason.",
            f"GRANT pg_monitor TO {role}",
        )


def _runs(runs: list[Run], queues: set[str], jobs: set[str]) -> Iterable[Finding]:
    for run in runs:
        name = f"Run {run.id} of {run.job}"
        if run.waits_for is not None:
            yield Finding(
                Severity.NOTE, Subject.RUNS, f"{name} waits for run {run.waits_for} to end."
            )
        elif run.status is RunStatus.HELD:
            yield Finding(
                Severity.WARNING,
                Subject.RUNS,
                f"{name} is held: {run.reason}.",
                f"Put that right, then: breakbulk resume {run.id}",
            )
        elif run.status is RunStatus.PAUSED:
            yield Finding(
                Severity.NOTE, Subject.RUNS, f"{name} is paused.", f"breakbulk resume {run.id}"
            )
        elif run.status is RunStatus.FINISHING and not queues:
            yield Finding(
                Severity.WARNING,
                Subject.RUNS,
                f"{name} has no chunk left to do, but its {run.callback} is still to be called.",
                f"Start a worker with -Q {run.queue}: it is called there.",
            )
        elif queues and run.queue not in queues:
            yield Finding(
                Severity.ERROR,
                Subject.RUNS,
                f"{name} stands still: no worker consumes its queue {run.queue!r}.",
                f"Start a worker with -Q {run.queue}.",
            )
        elif jobs and run.job not in jobs:
            yield Finding(
                Severity.ERROR,
                Subject.RUNS,
                f"{name} stands still: no worker has the code of its job.",
                "Start a worker with the application that declares it.",
            )
