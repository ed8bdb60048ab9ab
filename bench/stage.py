"""One database with the shop's tables, and processes of the application that work on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, NullPool, create_engine, inspect, text

from bench import catalogue, shop
from bench.servers import Servers
from breakbulk import Breakbulk

ROOT = Path(__file__).parents[1]
LANES = 2
#: Rows of the large table. With 100,000,000 it takes some minutes and 7 GB of disk to build.
LARGE = 10_000_000
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.02
#: A table with more rows is left out of the log of changes, which would be larger than itself.
_LOGGED = 20_000_000


@dataclass(frozen=True)
class Stage:
    """A database to measure in.

    Attributes:
        url: its URL.
        broker: URL of the broker.
        quick: everything is measured over a hundredth of the rows, to see that it works.
        large: rows of the large table that latencies are measured with.
        lanes: how many, one after the other, where that is what is measured; else its own.
    """

    url: str
    broker: str
    quick: bool = False
    large: int = LARGE
    lanes: tuple[int, ...] = ()

    def size(self, full: int) -> int:
        """So many rows or chunks, or a hundredth of them where it has to be quick."""
        return max(1, full // 100) if self.quick else full

    @cached_property
    def engine(self) -> Engine:
        """Connections that are closed after use, so that none is idle beside a measurement."""
        return create_engine(self.url, poolclass=NullPool)

    @cached_property
    def bulk(self) -> Breakbulk:
        """The application, as a submitter has it."""
        return shop.bulk

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the application needs to find this stage."""
        return {
            **os.environ,
            shop.DATABASE: self.url,
            shop.BROKER: self.broker,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }

    def run(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own, VACUUM too."""
        with self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def ask(self, query: str, **values: Any) -> Any:
        """Return the one value of a query."""
        with self.engine.connect() as connection:
            return connection.execute(text(query), values).scalar_one()

    def rows(self, query: str) -> Sequence[Any]:
        """Return the rows of a query."""
        with self.engine.connect() as connection:
            return connection.execute(text(query)).all()

    def narrow(self, rows: int) -> None:
        """Build the table of so many narrow rows, in which one kind is rare, if it is not there."""
        table = shop.narrow(rows)
        if inspect(self.engine).has_table(table.name):
            return
        table.create(self.engine)
        if rows > _LOGGED:
            self.run(f"ALTER TABLE {table.name} SET UNLOGGED")
        self.run(
            f"ALTER TABLE {table.name} SET (autovacuum_enabled = off)",
            f"INSERT INTO {table.name} SELECT number, number % {shop.SPARSE_EVERY}, 0"
            f" FROM generate_series(1, {rows}) AS number",
            f"VACUUM ANALYZE {table.name}",
        )

    def products(self, most: int = catalogue.ROWS) -> int:
        """Load the catalogue, or so many of it at most, and return how many products there are."""
        shop.Base.metadata.create_all(self.engine)
        self.run("ALTER TABLE product SET (autovacuum_enabled = off)")
        with self.engine.begin() as connection:
            return catalogue.load(connection, most)

    def fresh_products(self) -> None:
        """Put the products back as they were, without any trace of an earlier run on disk."""
        self.run(
            "TRUNCATE product",
            "INSERT INTO product SELECT * FROM catalogue ORDER BY id",
            "VACUUM ANALYZE product",
            "CHECKPOINT",
        )

    @contextmanager
    def celery(self, application: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a Celery worker with two processes; yield its main one, which has just begun."""
        command = [sys.executable, "-m", "celery", "-A", application, "worker"]
        options = ["--concurrency", str(LANES), "--loglevel", "WARNING"]
        quiet = ["--without-mingle", "--without-gossip"]
        process = subprocess.Popen(
            [*command, *options, *quiet],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        """Run the shop's worker, warm; yield its main process."""
        with self.celery("bench.shop") as process:
            self._wait_for_worker(process)
            yield psutil.Process(process.pid)

    def python(self, module: str, *arguments: str, **environment: str) -> Any:
        """Run a module of the bench in a process of its own and return the JSON that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    def measure(self, job: Any) -> float:
        """Submit a job, wait until it has succeeded, and return the seconds it took.

        From the call of ``submit`` to the moment that the ledger notes as the end, so that
        the pause between two looks of ``wait`` is no part of it.
        """
        began = time.time()
        run = self.bulk.submit(job, overlap="allow")
        ended = run.wait(timeout=3600).raise_for_status().record().finished_at
        assert ended is not None
        return ended.timestamp() - began

    def settle(self, job: Any) -> None:
        """Submit a job and wait until it has ended, however."""
        self.bulk.submit(job, overlap="allow").wait(timeout=3600)

    def _wait_for_worker(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.bulk.workers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The Celery worker did not start.")
            time.sleep(_LOOK_SECONDS)
        # Until everybody has worked, as with the loop's processes: else one would be measured
        # while it connects and compiles.
        self.run("TRUNCATE warmed")
        while self.ask("SELECT count(DISTINCT pid) FROM warmed") < LANES:
            if time.monotonic() > deadline:
                raise RuntimeError("The Celery worker did not use all of its processes.")
            self.measure(shop.Warm())


@contextmanager
def stage(
    servers: Servers, *, quick: bool = False, large: int = LARGE, lanes: Sequence[int] = ()
) -> Iterator[Stage]:
    """Yield a stage with an empty ledger and two small tables for warming up."""
    servers.empty_broker()
    with servers.database() as url:
        os.environ[shop.DATABASE] = url
        shop.app.conf.update(broker_url=servers.broker)
        made = Stage(url, servers.broker, quick, large, tuple(lanes))
        made.bulk.upgrade()
        made.narrow(1000)
        made.run("CREATE TABLE warmed (pid integer)")
        try:
            yield made
        finally:
            made.bulk.runtime.database.dispose()
