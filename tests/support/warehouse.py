"""A team's application, as the workers of these tests run it: ``-A tests.support.warehouse``.

What differs from test to test comes in one environment variable; a test builds the same
application from the same values in its own process, with nothing global in between.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast
from uuid import UUID

from celery import Celery
from sqlalchemy import BigInteger, Engine, Select, Uuid, create_engine, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from breakbulk import Breakbulk, Chunk, FinishedRun
from tests.support import haul, manifest, tasks
from tests.support.deeds import befall

VARIABLE = "WAREHOUSE"


class Base(DeclarativeBase):
    """Tables of the team."""


class Product(Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=0)


class Parcel(Base):
    __tablename__ = "parcels"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=0)


class Package(Base):
    """A package of the catalogue, which may be repeated."""

    __tablename__ = "packages"

    name: Mapped[str] = mapped_column(primary_key=True)
    copy: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(default=0)


class Notice(Base):
    """What ``finished`` writes: one row a run, or something is wrong."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    run: Mapped[int]
    rows: Mapped[int]


@dataclass(frozen=True, kw_only=True)
class Config:
    """One test's application.

    Attributes:
        celery: Celery's settings.
        knobs: Breakbulk's settings.
        job: options of every job.
        target: as what ``database=`` is given.
        engine: options of the engine.
        forgets: jobs that this worker has no code for.
        schedule: seconds after which beat submits ``Count`` again; 0 for never.
    """

    database: str
    broker: str
    queue: str
    celery: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    target: str = "url"
    engine: dict[str, Any] = field(default_factory=dict)
    forgets: list[str] = field(default_factory=list)
    schedule: float = 0

    @classmethod
    def from_environment(cls) -> Self:
        return cls(**json.loads(os.environ[VARIABLE]))

    def environment(self, **changes: Any) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(replace(self, **changes)))}


class Gate:
    """Where a chunk waits, its work done but not committed, until a test lets it pass."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    def pass_through(self, name: str) -> None:
        """Called by the chunk."""
        (self.directory / f"{name} {os.getpid()}").touch()
        while not (self.directory / "open").exists():
            time.sleep(0.01)  # the job's own work, as far as anybody can see

    def open(self) -> None:
        """Called by the test: from now on nobody waits."""
        (self.directory / "open").touch()

    def close(self) -> None:
        """Called by the test: from now on everybody waits again."""
        (self.directory / "open").unlink()

    def arrived(self) -> list[tuple[str, int]]:
        """Names of those that came, and their processes."""
        names = (path.name.split() for path in self.directory.iterdir() if path.name != "open")
        return [(name, int(pid)) for name, pid in names]


@dataclass(frozen=True)
class Application:
    """The team's Celery application and its jobs."""

    app: Celery
    bulk: Breakbulk
    count: Any
    count_parcels: Any
    count_packages: Any
    mail: Any
    haul: Any
    manifest: Any


def build(config: Config) -> Application:
    """Make the application."""
    app = Celery("warehouse", broker=config.broker, set_as_current=False)
    app.conf.task_default_queue = config.queue
    app.conf.update(config.celery)
    bulk = Breakbulk(_target(config), celery=app, **config.knobs)
    application = Application(app, bulk, *_declare(bulk, config))
    if config.schedule:
        signature = bulk.signature(application.count(seconds=0.2))
        app.add_periodic_task(config.schedule, signature)

    @app.task(name="team.note", shared=False)
    def note(path: str, published: float) -> None:
        """A task of the team: writes down how long it waited, then works for 100 ms."""
        waited = time.time() - published
        time.sleep(0.1)  # what a task of the team does all that time
        with Path(path).open("a") as file:
            file.write(f"{waited}\n")

    tasks.declare(app, Product, Notice)
    return application


def _work(job: Any, chunk: Chunk[Any], model: type[Base]) -> None:
    table = cast("Any", model).__table__
    # Writes first, and never twice the same.
    chunk.session.execute(update(table).where(chunk.where).values(version=table.c.version + 1))
    if job.seconds and chunk.number >= getattr(job, "slow_from", 0):
        time.sleep(job.seconds)  # for work that takes its time; no test waits with it
    if job.gate and job.gated in (0, chunk.number):
        Gate(job.gate).pass_through(str(chunk.number))


def _note(run: FinishedRun) -> None:
    run.session.execute(insert(Notice).values(run=run.id, rows=run.summary.rows_done))


def _declare(bulk: Breakbulk, config: Config) -> list[Any]:  # noqa: C901  (four small jobs)
    class Count:
        """Count each product's version up.

        Attributes:
            slow_from: the first chunk that takes its seconds.
            finale: gate at which the callback waits, its notice written and not committed.
            refusal: file; as long as it is there the callback raises.
        """

        seconds: float = 0.0
        gate: str = ""
        gated: int = 0
        label: str = ""
        slow_from: int = 0
        finale: str = ""
        refusal: str = ""

        def source(self) -> Select[Any]:
            return select(Product).where(Product.active)

        def process(self, chunk: Chunk[Product]) -> None:
            _work(self, chunk, Product)

        def finished(self, run: FinishedRun) -> None:
            _note(run)
            if self.finale:
                Gate(self.finale).pass_through("callback")
            if self.refusal and Path(self.refusal).exists():
                raise ValueError("no mail today")

    class CountParcels:
        """Count each parcel's version up."""

        seconds: float = 0.0
        gate: str = ""
        gated: int = 0

        def source(self) -> Select[Any]:
            return select(Parcel).where(Parcel.active)

        def process(self, chunk: Chunk[Parcel]) -> None:
            _work(self, chunk, Parcel)

        def finished(self, run: FinishedRun) -> None:
            _note(run)

    class CountPackages:
        """Count each package's version up."""

        seconds: float = 0.0
        gate: str = ""
        gated: int = 0

        def source(self) -> Select[Any]:
            return select(Package)

        def process(self, chunk: Chunk[Package]) -> None:
            _work(self, chunk, Package)

        def finished(self, run: FinishedRun) -> None:
            _note(run)

    class Mail:
        """Write to the owner of each product; some letters are poison.

        Attributes:
            outbox: file that stands for a mail server: one line a letter, its idempotency key.
            poison: file that says what befalls the process at which product, as JSON.
        """

        outbox: str
        poison: str

        def source(self) -> Select[Any]:
            return select(Product)

        def process(self, chunk: Chunk[Product]) -> None:
            deeds = json.loads(Path(self.poison).read_text())
            for product in chunk:
                product.version += 1
                chunk.session.flush()
                with Path(self.outbox).open("a") as outbox:
                    outbox.write(f"{product.id} {chunk.key_for(product)}\n")
                befall(deeds.get(str(product.id)), product.name)

        def finished(self, run: FinishedRun) -> None:
            _note(run)
            befall(json.loads(Path(self.poison).read_text()).get("finished"), "the callback")

    return [
        cls if cls.__name__ in config.forgets else bulk.job(name=cls.__name__, **config.job)(cls)
        for cls in (
            Count,
            CountParcels,
            CountPackages,
            Mail,
            haul.make(Product, _note),
            manifest.make(Product, _note, lambda directory: Gate(directory).pass_through),
        )
    ]


def _target(config: Config) -> Any:
    if config.target == "url":
        return config.database
    if config.target == "callable":
        return lambda: _engine(config)
    engine = _engine(config)
    return engine if config.target == "engine" else sessionmaker(engine)


def _engine(config: Config) -> Engine:
    return create_engine(config.database, **config.engine)


if VARIABLE in os.environ:
    _application = build(Config.from_environment())
    app, bulk = _application.app, _application.bulk
