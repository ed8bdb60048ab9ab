"""A contestant with everything that it needs: a broker, a place for results, a worker."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis import Redis
from sqlalchemy import URL, NullPool, create_engine, make_url, text

from breakbulk.embedded import EmbeddedValkey
from tests.outside import application
from tests.outside.application import BREAKBULK, CELERY, Config
from tests.support import failpoints
from tests.support.databases import fresh_postgres
from tests.support.workers import Worker, WorkerFactory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import SimpleNamespace

    from sqlalchemy import Engine

    from tests.support.servers import Servers

_MODULE = "tests.outside.application"
#: Numbers of databases on a Valkey server that others use, too: they empty number 0 only.
_RESULTS = {CELERY: 1, BREAKBULK: 2}
_NOTES = {CELERY: 3, BREAKBULK: 4}
SLOTS = 3
_TABLES = (
    "CREATE TABLE rows (number integer NOT NULL)",
    "CREATE TABLE callbacks (job text NOT NULL, given text NOT NULL)",
)
#: A lost machine is noticed sooner than by default, as every test of it wants it.
KNOBS = {"lease_seconds": 3.0, "broker_patience": 2.0, "steward_seconds": 0.25}


class Camp:
    """One contestant, from its first scenario to its last.

    Args:
        name: of the contestant.
        servers: for the databases.
        directory: for logs.
    """

    def __init__(self, name: str, servers: Servers, directory: Path) -> None:
        self.name = name
        self._stack = ExitStack()
        self.broker = self._stack.enter_context(EmbeddedValkey(directory / "valkey"))
        self.database = self._stack.enter_context(fresh_postgres(servers.postgres))
        store = make_url(servers.valkey)
        self.config = Config(
            contestant=name,
            broker=self.broker.url,
            results=_numbered(store, _RESULTS[name]),
            notes=_numbered(store, _NOTES[name]),
            database=self.database,
            knobs=KNOBS if name == BREAKBULK else {},
        )
        self.engine = _prepared(self.database)
        self.built = application.build(self.config)
        if self.built.bulk is not None:
            self.built.bulk.upgrade()
        (directory / "snares").mkdir()
        self.snares = failpoints.Snares(str(directory / "snares"))
        self._start = WorkerFactory(directory)
        self._stack.callback(self._close)
        self.worker = self.start_worker()

    def client(self, number: int = 0) -> Redis:
        """The broker, seen from below.

        Args:
            number: of its database.
        """
        return Redis.from_url(_numbered(make_url(self.broker.url), number), decode_responses=True)

    def with_config(self, **changes: Any) -> Config:
        """The application with changes."""
        return replace(self.config, **changes)

    @property
    def workers(self) -> list[Worker]:
        """All that were ever started."""
        return self._start.workers

    def start_worker(self, config: Config | None = None, **options: Any) -> Worker:
        """Start one more worker and wait until it is ready."""
        config = config or self.config
        environment = {**config.environment(), **options.pop("env", {})}
        options.setdefault("concurrency", SLOTS)
        if self.name == BREAKBULK:
            options.setdefault("failpoint", self.snares)
        return self._start(_MODULE, env=environment, **options)

    @contextmanager
    def beside(self, config: Config) -> Iterator[tuple[SimpleNamespace, Engine]]:
        """The same application once more, with a worker, in a place of its own."""
        engine = _prepared(config.database)
        built = application.build(config)
        if built.bulk is not None:
            built.bulk.upgrade()
        worker = self.start_worker(config)
        try:
            yield built, engine
        finally:
            worker.kill_all()
            _let_go(built)

    def start_anew(self) -> None:
        """An empty broker, a worker in the place of the one that there was, and a new application.

        This process would else take it for granted that its queues are declared.
        """
        self.worker.kill_all()
        with self.client() as client:
            client.flushdb()
        _let_go(self.built)
        self.built = application.build(self.config)
        self.worker = self.start_worker()

    def close(self) -> None:
        """Leave nothing behind."""
        self._stack.close()

    def _close(self) -> None:
        self._start.close()
        _let_go(self.built)
        self.engine.dispose()


def _prepared(database: str) -> Engine:
    """Engine on a database with the team's tables."""
    engine = create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in _TABLES:
            connection.execute(text(statement))
    return engine


def _let_go(built: SimpleNamespace) -> None:
    built.app.close()
    if built.bulk is not None:
        built.bulk.runtime.database.dispose()


def _numbered(url: URL, number: int) -> str:
    return url.set(database=str(number)).render_as_string(hide_password=False)
