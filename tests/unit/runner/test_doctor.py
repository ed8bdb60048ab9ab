"""What the doctor says of workers and runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, column, create_engine, select, table, text

import breakbulk
from breakbulk import Breakbulk, Masked
from breakbulk.domain.finding import Severity, Subject
from breakbulk.ledger.workers import Worker
from breakbulk.runner.celery_settings import told
from breakbulk.runner.vault import Vault


@pytest.fixture
def bulk(sqlite_url: str) -> Iterator[Breakbulk]:
    """An application whose broker is in memory, with one job and one run of it."""
    from celery import Celery

    app = Celery("clinic", broker="memory://", set_as_current=False)
    made = Breakbulk(sqlite_url, celery=app)

    @made.job(name="count")
    class Count:
        def source(self) -> object:
            return select(table("product", column("id")))

        def process(self, chunk: object) -> None: ...

    made.upgrade()
    yield made
    made.runtime.database.dispose()


@pytest.fixture
def run(bulk: Breakbulk) -> int:
    """A run as a submit would have written it, as far as the doctor looks."""
    _sql(
        bulk,
        "INSERT INTO breakbulk_runs (id, job, parameters, queue, status, round, submitted_at,"
        " parameters_hash, fingerprint, key_names, chunk_size, policy, alone,"
        " at_least_once, has_failed) VALUES (7, 'count', '{}', 'celery', 'running', 1,"
        " '2026-01-01 00:00:00.000', '', '', '[\"id\"]', 500, '{}', 1, 0, 0)",
    )
    return 7


def _sql(bulk: Breakbulk, statement: str) -> None:
    with bulk.runtime.database.engine.begin() as connection:
        connection.execute(text(statement))


def _register(
    bulk: Breakbulk,
    *,
    host: str = "here",
    queues: tuple[str, ...] = ("celery",),
    jobs: tuple[str, ...] = ("count",),
    version: str = breakbulk.__version__,
    slots: int = 2,
    settings: dict[str, Any] | None = None,
) -> None:
    # A worker in this very process counts as alive on SQLite.
    worker = Worker(
        uuid4(), host, os.getpid(), slots, "threads", queues, jobs, version, settings=settings
    )
    with bulk.runtime.database.transaction() as connection:
        bulk.runtime.ledger.workers.renew(connection, worker, 60)


def _said(bulk: Breakbulk, severity: Severity, *subjects: Subject) -> list[str]:
    return [
        finding.what
        for finding in bulk.doctor()
        if finding.severity is severity and finding.subject in (subjects or tuple(Subject))
    ]


_LIFE = (Subject.WORKERS, Subject.RUNS, Subject.JOBS)


def test_healthy(bulk: Breakbulk, run: int) -> None:
    _register(bulk)
    assert _said(bulk, Severity.ERROR) == []
    assert _said(bulk, Severity.WARNING, *_LIFE) == []
    assert _said(bulk, Severity.OK, Subject.WORKERS) == [
        f"Worker {os.getpid()} on here has 2 slots (threads) for celery."
    ]


def test_one_slot(bulk: Breakbulk) -> None:
    _register(bulk, slots=1)
    (said,) = _said(bulk, Severity.OK, Subject.WORKERS)
    assert " has 1 slot (threads) " in said


def test_queue_that_nobody_consumes(bulk: Breakbulk, run: int) -> None:
    _register(bulk, queues=("other",))
    assert _said(bulk, Severity.ERROR, *_LIFE) == [
        "Run 7 of count stands still: no worker consumes its queue 'celery'."
    ]
    assert _said(bulk, Severity.WARNING, *_LIFE) == [
        "No worker consumes 'celery', the queue of the job count."
    ]


def test_job_that_no_worker_knows(bulk: Breakbulk, run: int) -> None:
    _register(bulk, jobs=("other",))
    assert _said(bulk, Severity.ERROR, *_LIFE) == [
        "Run 7 of count stands still: no worker has the code of its job."
    ]
    assert _said(bulk, Severity.WARNING, *_LIFE) == ["No worker has the code of the job count."]


@pytest.mark.parametrize(
    ("change", "severity", "what"),
    [
        (
            "status = 'held', reason = 'no such table'",
            Severity.WARNING,
            "Run 7 of count is held: no such table.",
        ),
        ("status = 'paused'", Severity.NOTE, "Run 7 of count is paused."),
        (
            "status = 'held', waits_for = 3",
            Severity.NOTE,
            "Run 7 of count waits for run 3 to end.",
        ),
    ],
)
def test_runs_at_rest(
    bulk: Breakbulk, run: int, change: str, severity: Severity, what: str
) -> None:
    _register(bulk)
    _sql(bulk, f"UPDATE breakbulk_runs SET {change}")
    assert _said(bulk, severity, Subject.RUNS) == [what]


def test_worker_of_another_version(bulk: Breakbulk) -> None:
    _register(bulk, version="0.0.1")
    assert _said(bulk, Severity.WARNING, *_LIFE) == [
        f"Worker {os.getpid()} on here runs Breakbulk 0.0.1, here it is {breakbulk.__version__}."
    ]


def test_settings_of_a_worker_that_are_not_those_of_this_process(bulk: Breakbulk) -> None:
    assert bulk.celery is not None
    bulk.celery.conf.update(worker_prefetch_multiplier=1, task_acks_late=True)
    _register(bulk, settings=told(bulk.celery.conf, worker_prefetch_multiplier=8))
    worker = f"Worker {os.getpid()} on here: "
    said = _said(bulk, Severity.NOTE, Subject.SETTINGS)
    (one,) = [one for one in said if one.startswith("Worker")]
    assert one.startswith(f"{worker}worker_prefetch_multiplier is 8: a lane that one worker has")
    assert any("worker_prefetch_multiplier is 1" in one for one in _said(bulk, Severity.OK))


def test_worker_that_does_not_know_the_tasks_of_others(bulk: Breakbulk) -> None:
    _register(bulk, settings={"tasks": ["shop.price", *(f"shop.task{n}" for n in range(5))]})
    _register(bulk, host="there", settings={"tasks": ["shop.price"]})
    _register(bulk, host="apart", queues=("mail",), settings={"tasks": ["shop.mail"]})
    (said,) = (one for one in _said(bulk, Severity.WARNING, Subject.WORKERS) if "know" in one)
    assert said == (
        f"Worker {os.getpid()} on there does not know shop.task0, shop.task1, shop.task2 and 2"
        " more, which another worker of its queue knows: parts of a canvas are left to that one."
    )


def test_chunks_that_take_longer_than_a_shutdown_may(bulk: Breakbulk, run: int) -> None:
    _register(bulk, settings={"grace_seconds": 30.0})
    for number, seconds in ((1, 3.0), (2, 42.0)):
        _sql(
            bulk,
            "INSERT INTO breakbulk_chunks (run_id, number, path, status, upto, rows, rows_upto,"
            f" attempt, seconds) VALUES (7, {number}, '', 'succeeded', '1', 1, 1, 1, {seconds})",
        )
    (said,) = _said(bulk, Severity.WARNING, Subject.WORKERS)
    assert said.startswith(
        "A worker is killed 30 s after it is told to end, and a chunk of count took 42.0 s lately:"
    )


def test_several_machines_on_sqlite(bulk: Breakbulk) -> None:
    _register(bulk)
    _register(bulk, host="there")
    assert _said(bulk, Severity.ERROR) == [
        "Workers on several machines share a ledger on SQLite, which cannot work."
    ]


def test_worker_whose_lock_is_free_is_dead(bulk: Breakbulk) -> None:
    _register(bulk)
    _sql(bulk, "UPDATE breakbulk_workers SET pid = pid + 1")
    assert f"Worker {os.getpid() + 1} on here is no longer heard from." in _said(
        bulk, Severity.WARNING
    )
    assert bulk.live_workers() == []


def test_no_celery_application(sqlite_url: str) -> None:
    alone = Breakbulk(sqlite_url)
    alone.upgrade()
    (finding,) = (one for one in alone.doctor() if one.severity is Severity.ERROR)
    assert finding.foundational
    assert "no Celery application" in finding.what
    alone.runtime.database.dispose()


def test_rows_elsewhere_are_at_least_once(sqlite_url: str) -> None:
    apart = Breakbulk(sqlite_url, data="sqlite://", at_least_once=True)
    apart.upgrade()
    (note,) = _said(apart, Severity.NOTE, Subject.DATABASE)
    assert "at_least_once=True" in note
    apart.runtime.database.dispose()


def test_journal_that_blocks(sqlite_engine: Engine) -> None:
    own = create_engine(sqlite_engine.url)
    blocking = Breakbulk(own)
    blocking.upgrade()
    assert "journal in mode delete" in _said(blocking, Severity.WARNING, Subject.DATABASE)[0]
    own.dispose()


def test_secrets_without_a_key(bulk: Breakbulk) -> None:
    @bulk.job(name="mail")
    class Mail:
        token: Annotated[str, Masked]

        def source(self) -> Any: ...

        def process(self, chunk: Any) -> None: ...

    assert "there is no key" in _said(bulk, Severity.ERROR, Subject.JOBS)[0]
    object.__setattr__(bulk.runtime, "vault", Vault(["only for tests " * 3]))
    assert not _said(bulk, Severity.ERROR, Subject.JOBS)
