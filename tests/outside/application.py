"""The application that both contestants' workers run: ``-A tests.outside.application``.

The tasks are the same for both, as a team has them that has never heard of Breakbulk; what one
contestant needs and the other does not stands in :func:`build` alone. What tasks do leaves its
trace in a Valkey database of its own, which no broker and no result backend knows of.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol, Self, TypeVar

from celery import Celery, signals
from celery.exceptions import SoftTimeLimitExceeded
from redis import Redis
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session

from breakbulk import Breakbulk, current_chunk, current_run

Function = TypeVar("Function", bound=Callable[..., Any])

VARIABLE = "OUTSIDE"
CELERY, BREAKBULK = "celery", "breakbulk"
#: As Celery's guide recommends for tasks that may be run again.
SETTINGS: dict[str, Any] = {
    "task_acks_late": True,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_channel_error_retry": True,
}
#: The key that is there once a part or a body of ours has asked for the run's session.
IN_SESSION = "in session"
#: Longer than any scenario takes, so that whoever is forgotten at a gate ends at last.
_HELD_SECONDS = 60.0
_LOOK_SECONDS = 0.01


class Unwell(Exception):
    """Some task's reason to fail."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One application.

    Attributes:
        contestant: `CELERY` or `BREAKBULK`.
        broker: URL.
        results: URL of Celery's result backend; Breakbulk has none.
        notes: URL of the Valkey database that tasks write to.
        database: URL of the team's database, which holds the ledger, too.
        queue: the default one.
        celery: more of Celery's settings.
        knobs: Breakbulk's settings.
    """

    contestant: str
    broker: str
    results: str
    notes: str
    database: str
    queue: str = "outside"
    celery: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> Self:
        """The application that the environment asks for."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def environment(self) -> dict[str, str]:
        """What a process of the application needs."""
        return {VARIABLE: json.dumps(asdict(self))}


class Notes:
    """Where tasks leave their traces, and the gates and traps that a test sets for them."""

    def __init__(self, url: str) -> None:
        self.client: Redis = Redis.from_url(url, decode_responses=True)

    def write(self, key: str, value: Any) -> None:
        """Add a note."""
        self.client.rpush(key, json.dumps(value))

    def read(self, key: str) -> list[Any]:
        """All notes under that key, in order."""
        return [json.loads(note) for note in self.client.lrange(key, 0, -1)]

    def pass_gate(self, gate: str) -> None:
        """Come to a gate and wait until it is open."""
        self.write(f"{gate}:arrived", os.getpid())
        end = time.monotonic() + _HELD_SECONDS
        while not self.client.exists(f"{gate}:open") and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)

    def spring(self, place: str) -> bool:
        """Whether a trap was laid at this place; it is sprung by the first who comes."""
        return bool(self.client.getdel(f"trap:{place}"))


def build(config: Config) -> SimpleNamespace:
    """The application: ``app``, ``bulk`` (None for Celery), ``notes``, ``tasks``."""
    app = Celery("outside", broker=config.broker, set_as_current=False)
    app.conf.update(SETTINGS, task_default_queue=config.queue, **config.celery)
    notes = Notes(config.notes)
    bulk = None
    if config.contestant == CELERY:
        app.conf.update(result_backend=f"tests.outside.trapped:TrappedBackend+{config.results}")
    else:
        bulk = Breakbulk(database=config.database, celery=app, **config.knobs)
    tasks = _tasks(app, notes, config)
    return SimpleNamespace(app=app, bulk=bulk, notes=notes, tasks=tasks)


def _tasks(app: Celery, notes: Notes, config: Config) -> SimpleNamespace:
    made = SimpleNamespace()

    def task(**options: Any) -> Callable[[Function], Function]:
        def declare(function: Function) -> Function:
            name = f"outside.{function.__name__}"
            # Not shared, or it would be in every application that is built later.
            register: Any = app.task(name=name, shared=False, **options)
            setattr(made, function.__name__, register(function))
            return function

        return declare

    _sums(task)
    _traces(task, notes)
    _troubles(task, notes)
    _errbacks(task, notes)
    _changes(task, notes, config)
    return made


class Declare(Protocol):
    """Celery's decorator, typed."""

    def __call__(self, **options: Any) -> Callable[[Function], Function]:
        """Declare a task with these options."""


def _sums(task: Declare) -> None:
    @task()
    def identity(value: Any) -> Any:
        return value

    @task()
    def add(x: int, y: int, z: int = 0) -> int:
        return x + y + z

    @task()
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @task()
    def add_to_all(numbers: list[int], amount: int) -> list[int]:
        return [number + amount for number in numbers]


def _traces(task: Declare, notes: Notes) -> None:
    @task()
    def note(*values: Any, key: str) -> Any:
        """Note what it was called with, and give the first of it back."""
        notes.write(key, list(values))
        return values[0] if values else None

    @task(bind=True)
    def identified(self: Any, *_: Any, key: str) -> None:
        """Note by which ids it is known: its own and its group's."""
        notes.write(key, [self.request.id, self.request.group])

    @task()
    def moment(*_: Any, key: str) -> None:
        notes.write(key, time.time())

    @task()
    def held(value: Any, gate: str, key: str = "") -> Any:
        """Wait at a gate."""
        notes.pass_gate(gate)
        if key:
            notes.write(key, [value])
        return value

    @task()
    def drawn(gate: str, key: str) -> int:
        """Give another value each time, when the test says so, and note that it was given."""
        number = int(notes.client.incr(key))
        notes.pass_gate(f"{gate}{number}")
        notes.write(f"{key}:given", number)
        return number


def _troubles(task: Declare, notes: Notes) -> None:
    @task()
    def fail(*_: Any) -> None:
        raise Unwell("this task never succeeds")

    @task(bind=True, max_retries=5)
    def retried(self: Any, value: Any, key: str, times: int, countdown: float = 0) -> Any:
        """Fail so often, then succeed."""
        notes.write(key, self.request.retries)
        if self.request.retries < times:
            raise self.retry(exc=Unwell("not yet"), countdown=countdown)
        return value

    @task()
    def patient(seconds: float) -> int:
        """Come to terms with a soft time limit."""
        try:
            time.sleep(seconds)
        except SoftTimeLimitExceeded:
            return 0
        return 1

    @task()
    def deadly(key: str) -> None:
        """Die as a process does that the kernel kills because memory has run out."""
        notes.write(key, os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)


def _changes(task: Declare, notes: Notes, config: Config) -> None:
    @task(autoretry_for=(Exception,), max_retries=5, default_retry_delay=0)
    def row(number: int, mark: str = "") -> int:
        """Write a row, and say what a proxy may listen for before the COMMIT."""
        with _transaction(notes, config) as session:
            session.execute(text("INSERT INTO rows VALUES (:number)"), {"number": number})
            if mark:
                session.execute(text(f"SELECT '{mark}'"))
        return number

    @task(autoretry_for=(Exception,), max_retries=5, default_retry_delay=0)
    def called_back(*values: Any, job: str) -> None:
        """A body that changes the database."""
        with _transaction(notes, config, body=True) as session:
            session.execute(
                text("INSERT INTO callbacks VALUES (:job, :given)"),
                {"job": job, "given": json.dumps(values)},
            )


def _errbacks(task: Declare, notes: Notes) -> None:
    @task()
    def told_of(task_id: str, *, key: str) -> None:
        """An error callback of the old kind, which is sent."""
        notes.write(key, task_id)

    @task()
    def told(request: Any, error: Any, traceback: Any, key: str) -> None:
        """An error callback of the new kind, which is called in the worker that knows of it."""
        notes.write(key, repr(error))


@contextmanager
def _transaction(notes: Notes, config: Config, *, body: bool = False) -> Iterator[Session]:
    """The run's own session where there is one; else one of the task's, committed at the end."""
    if config.contestant == BREAKBULK:
        notes.client.set(IN_SESSION, 1)
        yield current_run().session if body else current_chunk().session
        return
    engine = create_engine(config.database, poolclass=NullPool)
    with Session(engine) as session, session.begin():
        yield session


def _lay_traps(notes: Notes) -> None:
    """In a worker: die where a test has laid a trap, without a word."""

    def die(place: str, name: Any) -> None:
        if notes.spring(f"{place} {name}"):
            os.kill(os.getpid(), signal.SIGKILL)

    def published(place: str) -> Any:
        def handler(sender: Any = None, **_: Any) -> None:
            die(place, sender)

        return handler

    def run(place: str) -> Any:
        def handler(task: Any = None, **_: Any) -> None:
            die(place, task.name)

        return handler

    signals.before_task_publish.connect(published("before publishing"), weak=False)
    signals.after_task_publish.connect(published("after publishing"), weak=False)
    signals.task_prerun.connect(run("before running"), weak=False)
    signals.task_postrun.connect(run("after running"), weak=False)


if VARIABLE in os.environ:
    _built = build(Config.from_environment())
    app, bulk = _built.app, _built.bulk
    app.set_current()
    _lay_traps(_built.notes)
