"""A warehouse with rows, workers and runs, and the one judgement that ends every test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, func, insert, select

from breakbulk import RunHandle, RunStatus
from breakbulk.domain.status import FINISHED
from tests.support.complaints import complaints as complaints_in
from tests.support.waiting import wait_for
from tests.support.warehouse import Application, Base, Config, Gate, Notice, Product, build

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from breakbulk.domain.run import Run
    from tests.support.workers import Worker, WorkerFactory

_MODULE = "tests.support.warehouse"
_ROOT = Path(__file__).parents[2]


class Stage:
    """One test's warehouse.

    Args:
        config: the application that the workers run and that this process submits with.
        start: starts a worker.
        directory: for gates and logs.
    """

    def __init__(self, config: Config, start: WorkerFactory, directory: Path) -> None:
        self.config = config
        self.directory = directory
        self._start = start
        self._processes: list[subprocess.Popen[bytes]] = []
        self.application: Application = build(config)
        self.bulk = self.application.bulk
        self.bulk.upgrade()
        # Whoever polls for SQLite's one writer, as we do here, may have to be patient.
        patience = {"timeout": 120} if config.database.startswith("sqlite") else {}
        self.engine: Engine = create_engine(
            config.database, connect_args=patience, pool_pre_ping=True
        )
        Base.metadata.create_all(self.engine)

    def fill(self, rows: int = 1000) -> None:
        """Put that many products on the shelves, with holes between their numbers."""
        self.insert(Product, ({"id": 3 * n - 500, "name": f"product {n}"} for n in range(rows)))

    def insert(self, model: type[Base], rows: Iterable[dict[str, Any]]) -> None:
        """Put rows into a table."""
        with self.engine.begin() as connection:
            connection.execute(insert(model), [{"version": 0, **row} for row in rows])

    def worker(self, *, celery: dict[str, Any] | None = None, **options: Any) -> Worker:
        """Start a worker.

        ``celery``, ``forgets``, ``database`` and ``broker`` change the application that it runs.
        """
        names = ("forgets", "database", "broker")
        changes = {name: options.pop(name) for name in names if name in options}
        environment = options.pop("env", {})
        if celery is not None:
            changes["celery"] = {**self.config.celery, **celery}
        env = {**self.config.environment(**changes), **environment}
        return self._start(_MODULE, env=env, **options)

    @property
    def workers(self) -> Sequence[Worker]:
        """All workers that were ever started."""
        return self._start.workers

    def gate(self, name: str = "gate") -> Gate:
        """A gate that is closed."""
        directory = self.directory / name
        directory.mkdir()
        return Gate(directory)

    def count(self, **parameters: Any) -> Any:
        """The job, to be submitted."""
        return self.application.count(**parameters)

    def submit(self, **parameters: Any) -> RunHandle:
        """Submit the job."""
        return self.bulk.submit(self.count(**parameters))

    def celery(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start another Celery program of this application, such as beat."""
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", _MODULE, *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                **self.config.environment(),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def operator(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the command line, as an operator does, and leave it running."""
        process = subprocess.Popen(
            [sys.executable, "-m", "breakbulk", "-A", f"{_MODULE}:bulk", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **self.config.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def put(self, rows: int) -> None:
        """Put products with the numbers from 1 on the shelves."""
        self.insert(Product, ({"id": n, "name": f"product {n}"} for n in range(1, rows + 1)))

    def breakbulk(self, *arguments: str, code: int = 0) -> str:
        """Run the command line, as an operator does, and expect an exit code; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "breakbulk", "-A", f"{_MODULE}:bulk", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **self.config.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr or done.stdout
        return done.stdout

    def until(self, run: RunHandle, *statuses: RunStatus, timeout: float = 120) -> Run:
        """Wait until a run is in one of these statuses; one that has ended otherwise never is.

        Raises:
            AssertionError: it is not, and how it stands.
        """
        record = wait_for(
            lambda: found if (found := run.record()).status in {*statuses, *FINISHED} else None,
            timeout=timeout,
            message=f"run {run.id} to be {' or '.join(statuses)}",
        )
        assert record is not None
        assert record.status in statuses, f"run {run.id} is {record.status}: {record.reason}"
        return record

    def until_succeeded(self, *runs: RunHandle, timeout: float = 120) -> None:
        """Wait until runs have ended well."""
        for run in runs:
            run.wait(timeout).raise_for_status()

    def until_done(self, run: RunHandle, chunks: int) -> None:
        """Wait until that many chunks are done, or the run has ended."""
        wait_for(
            lambda: len(self.chunk_statuses(run, "succeeded")) >= chunks,
            message=f"{chunks} chunks of run {run.id} to be done",
        )

    def chunk_statuses(self, run: RunHandle, *only: str) -> list[str]:
        """The statuses of a run's chunks."""
        chunks = self.bulk.runtime.database.schema.chunks
        query = select(chunks.c.status).where(chunks.c.run_id == run.id)
        if only:
            query = query.where(chunks.c.status.in_(only))
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def attempts(self, run: RunHandle) -> dict[int, int]:
        """Attempts by chunk, as far as there was more than one."""
        chunks = self.bulk.runtime.database.schema.chunks
        query = select(chunks.c.number, chunks.c.attempt).where(
            chunks.c.run_id == run.id, chunks.c.attempt > 1
        )
        with self.engine.connect() as connection:
            return {row.number: row.attempt for row in connection.execute(query)}

    def losses(self, run: RunHandle) -> dict[int, int]:
        """Losses by chunk, as far as there were any."""
        chunks = self.bulk.runtime.database.schema.chunks
        query = select(chunks.c.number, chunks.c.losses).where(
            chunks.c.run_id == run.id, chunks.c.losses > 0
        )
        with self.engine.connect() as connection:
            return {row.number: row.losses for row in connection.execute(query)}

    def lanes(self) -> int:
        """Lanes at work now."""
        return self._size(self.bulk.runtime.database.schema.lanes)

    def versions(self, model: type[Any] = Product) -> dict[int, int]:
        """How many rows have which version: the truth, which knows nothing of Breakbulk."""
        query = select(model.version, func.count().label("rows")).group_by(model.version)
        with self.engine.connect() as connection:
            return {row.version: row.rows for row in connection.execute(query)}

    def notices(self) -> Counter[int]:
        """How often each run was finished."""
        with self.engine.connect() as connection:
            return Counter(connection.execute(select(Notice.run)).scalars())

    def judge(
        self,
        *runs: RunHandle,
        rows: int | None = None,
        model: type[Any] = Product,
        version: int | None = None,
        split: bool = False,
        complaints: Sequence[str] = (),
    ) -> None:
        """Every row done once by each run, audits clean, called back once, nothing left over.

        Args:
            rows: what the table has to hold; None: whatever it holds.
            version: what every row has; default one for each run.
            split: chunks may have been split.
            complaints: what the workers' logs may hold though it reads like trouble.
        """
        versions = self.versions(model)
        expected = len(runs) if version is None else version
        assert set(versions) == {expected}, f"rows by version: {versions}"
        assert rows is None or versions[expected] == rows
        self.judge_ledger(*runs, split=split, complaints=complaints)

    def judge_ledger(
        self, *runs: RunHandle, split: bool = False, complaints: Sequence[str] = ()
    ) -> None:
        """What :meth:`judge` says of the ledger, the callbacks and the logs."""
        notices = self.notices()
        for run in runs:
            record, audit = run.record(), run.audit()
            assert audit.clean, audit.findings
            assert record.status is RunStatus.SUCCEEDED
            assert notices[int(run.id)] == record.round, "called back once a round"
            assert set(self.chunk_statuses(run)) <= {"succeeded", "split" if split else "succeeded"}
        wait_for(lambda: not self.lanes(), message="the last lane to leave")
        assert not self._size(self.bulk.runtime.database.schema.waiting)
        for worker in self._start.workers:
            for entry in complaints_in(worker.log()):
                assert any(complaint in entry for complaint in complaints), entry

    def finish(self) -> None:
        """End all workers now, before the broker goes that they are connected to."""
        self._start.close()

    def close(self) -> None:
        """Let go of everything."""
        for process in self._processes:
            process.kill()
            process.wait()
        wait_for(lambda: self.bulk.nudges.idle, message="the nudges to be over")
        if self.bulk.broker is not None:
            self.bulk.broker._drop()
        self.application.app.close()
        self.bulk.runtime.database.dispose()
        self.engine.dispose()

    def _size(self, table: Any) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
