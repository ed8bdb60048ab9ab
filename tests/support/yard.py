"""A yard: an application, a table of goods and a ledger, with lanes in this very process.

Everything is real except the processes: the same lanes and the same steward that a Celery worker
runs are called here directly, so that a test decides who does what when.
"""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from celery import Celery
from sqlalchemy import Engine, ForeignKey, Select, delete, event, func, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from breakbulk import Breakbulk, Chunk, FinishedRun, Items, RunHandle, RunStatus
from breakbulk.domain.status import FINISHED
from breakbulk.jobs import declare_keeping
from breakbulk.ledger import Database
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.sql import clock
from breakbulk.ledger.workers import Worker
from breakbulk.runner.runtime import Process, Runtime, live_lanes
from breakbulk.runner.steward import Steward
from breakbulk.runner.work import work
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection, MetaData

    from breakbulk.ledger import Ledger
    from breakbulk.ledger.database import Target

_STANDING = FINISHED | {RunStatus.PAUSED, RunStatus.HELD}


class Base(DeclarativeBase):
    """The team's own tables."""


class Goods(Base):
    """What is processed: ``version`` counts how often."""

    __tablename__ = "goods"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(default=0)
    code: Mapped[str | None] = mapped_column(unique=True, default=None)
    shelf: Mapped[int | None] = mapped_column(
        ForeignKey("goods.id", deferrable=True, initially="DEFERRED"), default=None
    )


class Notice(Base):
    """What callbacks leave behind."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    run: Mapped[int]
    words: Mapped[str]


def touch(chunk: Chunk[Goods]) -> None:
    """Process a chunk: count it in every row."""
    for row in chunk:
        row.version += 1


class Boom(Exception):
    """What a job raises that fails."""


def failing(times: int, number: int = 2) -> Callable[[Chunk[Goods]], None]:
    """A process that fails that often in one chunk, after it has changed rows."""

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if chunk.number == number and chunk.attempt <= times:
            raise Boom(f"attempt {chunk.attempt}")

    return process


def tell(run: FinishedRun) -> None:
    """Call back: leave a notice."""
    run.session.add(Notice(run=run.id, words=f"{run.status} {run.summary.rows_done}"))


#: What seals the secrets of its jobs.
SECRET_KEY = "of the yard and of nobody else in the world"


@dataclass
class Crew:
    """A worker of one slot in this process: its lanes and its steward."""

    runtime: Runtime
    process: Process
    steward: Steward
    sent: list[tuple[str, int]] = field(default_factory=list)
    #: Queues for which a lane was started without a broker.
    alone: list[str] = field(default_factory=list)
    draining: bool = False
    free: bool = True
    #: Lanes that count as too long at their chunk, how long some have been at theirs, and lanes
    #: whose process was to be ended.
    overdue: set[UUID] = field(default_factory=set)
    seconds: dict[UUID, float] = field(default_factory=dict)
    ended: list[UUID] = field(default_factory=list)

    def work(self) -> bool:
        """Be a lane until no run needs one, or for longer than that can take."""
        return work(self.runtime, self.process, "celery", 60.0)

    def work_until(self, condition: Callable[[], object], message: str = "the lane's deed") -> None:
        """Be a lane until something is so; it lets go after the chunk in hand."""
        process = replace(self.process, stopping=lambda: bool(condition()))

        def there() -> bool:
            work(self.runtime, process, "celery", 60.0)
            return bool(condition())

        wait_for(there, message=message)

    def tick(self) -> None:
        """Let the steward look around."""
        with self.runtime.database.connect() as connection:
            self.steward.tick(connection)


class Yard:
    """An application with its ledger on a fresh database.

    Args:
        database: as for ``Breakbulk``.
        rows: goods with the keys 1 to that number.
        shared: the tables are there already, and others use the engine afterwards.
        knobs: settings; waiting chunks are looked for at once unless these say otherwise.
    """

    def __init__(
        self, database: Target, *, rows: int = 0, shared: bool = False, **knobs: Any
    ) -> None:
        self.celery = Celery("yard", broker="memory://", set_as_current=False)
        chosen: dict[str, Any] = {"poll_seconds": 0.0, "secret_key": SECRET_KEY, **knobs}
        self.bulk = Breakbulk(database, celery=self.celery, **chosen)
        self._shared = shared
        if not shared:
            self.lay_out()
        self.add_goods(range(1, rows + 1))
        self._crews: list[Crew] = []
        self._numbers = itertools.count()

    def lay_out(self) -> None:
        """Create all tables."""
        self.bulk.upgrade()
        Base.metadata.create_all(self.engine)

    @property
    def runtime(self) -> Runtime:
        """The application's runtime."""
        return self.bulk.runtime

    @property
    def ledger(self) -> Ledger:
        """The application's ledger."""
        return self.bulk.runtime.ledger

    @property
    def engine(self) -> Engine:
        """The application's engine."""
        return self.bulk.runtime.database.engine

    def close(self) -> None:
        """Let go of everything."""
        wait_for(lambda: self.bulk.nudges.idle, message="the nudges to be over")
        for crew in self._crews:
            with self.runtime.database.connect() as connection:
                crew.steward.leave(connection)
        if not self._shared:
            self.engine.dispose()
        self.celery.close()

    # Goods

    def add_goods(self, ids: range) -> None:
        """Add goods with these keys."""
        if ids:
            with self.engine.begin() as connection:
                connection.execute(insert(Goods), [{"id": number} for number in ids])

    def versions(self) -> dict[int, int]:
        """How often each of the goods was processed."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(Goods.id, Goods.version).order_by(Goods.id))
            return {row.id: row.version for row in rows}

    def notices(self) -> list[str]:
        """What the callbacks said."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(Notice.words).order_by(Notice.id)).scalars())

    # Jobs and runs

    def job(
        self,
        process: Callable[[Any], object] = touch,
        *,
        finished: Callable[[Any], None] | None = tell,
        failed: Callable[[Any], None] | None = None,
        source: Callable[[], Select[Any] | Items[Any]] = lambda: select(Goods),
        keeps: bool = False,
        **options: Any,
    ) -> type[Any]:
        """Declare a job of these parts; ten rows a chunk and no delays unless options differ.

        Args:
            keeps: it keeps results, one item a chunk.
        """
        parts: dict[str, Any] = {
            "__doc__": "A job.",
            "__annotations__": {"tag": str},
            "tag": "",
            "source": lambda _self: source(),
            "process": lambda _self, chunk: process(chunk),
        }
        if finished is not None:
            parts["finished"] = lambda _self, run: finished(run)
        if failed is not None:
            parts["failed"] = lambda _self, run: failed(run)
        name = f"Job{next(self._numbers)}"
        made = type(name, (), parts)
        given = {"name": name, "chunk_size": 10, "retry_delay": 0, **options}
        declared: type[Any]
        if keeps:
            declared = declare_keeping(made, self.bulk.jobs.add, **{**given, "chunk_size": 1})
        else:
            declared = self.bulk.job(**given)(made)
        return declared

    def submit(self, job: type[Any], **options: Any) -> RunHandle:
        """Submit a job without parameters."""
        return self.bulk.submit(job(), **options)

    def run(self, process: Callable[[Any], object] = touch, **options: Any) -> RunHandle:
        """Submit a job of these parts and work until it stands still."""
        handle = self.submit(self.job(process, **options))
        self.settle(handle)
        return handle

    def settle(self, *handles: RunHandle) -> None:
        """Work until these runs have ended, or stand still by name."""
        crew = self.first_crew

        def still() -> bool:
            crew.work()
            crew.tick()
            stands = [handle.status() for handle in handles]
            moving[:] = [status for status in stands if status not in _STANDING]
            return not moving

        moving: list[RunStatus] = []
        try:
            wait_for(still, message="the runs to stand still")
        except AssertionError as error:
            chunks = self.rows_of("chunks", "status <> 'succeeded'")[:20]
            raise AssertionError(f"{error}: {moving}, {chunks}") from None

    # Workers and lanes

    @property
    def first_crew(self) -> Crew:
        """The worker that leads."""
        return self._crews[0] if self._crews else self.crew()

    def crew(self, slots: int = 1) -> Crew:
        """Register a worker in this process; the first one leads."""
        process = Process.current(uuid4())
        worker = Worker(
            id=process.worker_id,
            host="here",
            pid=os.getpid(),
            slots=slots,
            pool="threads",
            queues=("celery",),
            jobs=tuple(self.runtime.jobs.all()),
            version="",
        )

        def send(queue: str, count: int, _good_until: datetime) -> bool:
            crew.sent.append((queue, count))
            return True

        def alive(lane: Lane) -> bool:
            return lane.token in live_lanes

        steward = Steward(
            self.runtime,
            lambda: replace(worker, draining=crew.draining),
            alive=alive,
            overdue=lambda: crew.overdue,
            seconds_of=lambda lane: crew.seconds.get(lane),  # noqa: PLW0108  (not yet there)
            end=lambda lane: crew.ended.append(lane.token),
            send=send,
            free=lambda: crew.free,
            work_without_broker=lambda queue: crew.alone.append(queue),  # noqa: PLW0108  (not yet there)
        )
        crew = Crew(self.runtime, process, steward)
        crew.tick()
        self._crews.append(crew)
        return crew

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of the ledger's own."""
        with self.runtime.database.transaction() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A look at the ledger."""
        with self.runtime.database.reading() as connection:
            yield connection

    def due(self) -> None:
        """Let everything be due that waits for its time: chunks, callbacks, runs."""
        schema = self.ledger.database.schema
        with self.transaction() as connection:
            connection.execute(update(schema.waiting).values(not_before=clock()))
            connection.execute(update(schema.runs).values(finish_after=None))
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.not_before.is_not(None))
                .values(not_before=clock())
            )

    def lane(self, handle: RunHandle, number: int = 0, *, crew: Crew | None = None) -> Lane:
        """Take a place in a run, without working."""
        process = (crew or self.first_crew).process
        lane = Lane(handle.id, number, uuid4(), process.worker_id, process.pid, process.started)
        live_lanes.add(lane.token)
        with self.transaction() as connection:
            assert self.ledger.lanes.enter(connection, lane)
        return lane

    def rows_of(self, table: str, where: str = "1 = 1") -> list[dict[str, Any]]:
        """Rows of one of the ledger's tables, as they are."""
        found = getattr(self.ledger.database.schema, table)
        with self.engine.connect() as connection:
            rows = connection.execute(select(found).where(text(where)).order_by(*found.primary_key))
            return [dict(row) for row in rows.mappings()]

    def count(self, table: str) -> int:
        """Rows in one of the ledger's tables."""
        found = getattr(self.ledger.database.schema, table)
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(found)).scalar_one())

    def assert_proper(self, handle: RunHandle, times: int = 1) -> None:
        """A run that succeeded: audit clean, every row processed, called back, nothing left."""
        record = handle.record()
        assert record.status is RunStatus.SUCCEEDED, (record.status, record.reason)
        audit = handle.audit()
        assert audit.clean, audit.findings
        versions = self.versions()
        assert set(versions.values()) <= {times}, versions
        assert [n for n in self.notices() if n.startswith("succeeded")] == [
            f"succeeded {len(versions)}"
        ]
        assert self.count("lanes") == self.count("waiting") == 0


@contextmanager
def ground(url: str) -> Iterator[Engine]:
    """An engine on a database with all tables, to be wiped and used by test after test.

    Everything that SQLAlchemy compiles is compiled once.
    """
    yard = Yard(url)
    yard.celery.close()
    yield yard.engine
    yard.engine.dispose()


#: Bytes from which on making a table's files anew costs less than deleting its rows.
_LARGE = 1 << 20
_FIRST_NUMBERS = text("""
    SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false)
    FROM pg_sequences WHERE last_value IS NOT NULL
""")


def wipe(engine: Engine, *, anew: bool = False) -> None:
    """Empty all tables of a ground, and number anew.

    On PostgreSQL a TRUNCATE costs three milliseconds a table, for each of its files is made anew:
    a hundred for all tables before every test, where deleting their few rows takes one. The
    application's own tables have to be new, for what is known of their size counts.

    Args:
        anew: make all files anew, for tests of plans: these depend on what was there.
    """
    ledger = Database(engine).schema
    tables = [*Base.metadata.sorted_tables, *ledger.metadata.sorted_tables]
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            emptied = list(_with_pages(connection, Base.metadata, 0))
            emptied += _with_pages(connection, ledger.metadata, 0 if anew else _LARGE)
            if emptied:
                connection.execute(text(f"TRUNCATE {', '.join(emptied)} CASCADE"))
            connection.execute(text(";".join(f"DELETE FROM {t.fullname}" for t in tables[::-1])))
            connection.execute(_FIRST_NUMBERS)
        else:
            for table in reversed(tables):
                connection.execute(delete(table))
        connection.execute(insert(ledger.leader).values(id=1))


def _with_pages(connection: Connection, metadata: MetaData, over: int) -> Iterable[str]:
    """Tables whose rows, dead ones too, take more bytes than that."""
    names = [table.fullname for table in metadata.sorted_tables]
    larger = text("""
        SELECT name FROM unnest(CAST(:names AS text[])) AS name
        WHERE pg_relation_size(CAST(name AS regclass)) > :over
    """)
    return connection.scalars(larger, {"names": names, "over": over}).all()


def together(*parts: Callable[[], Any]) -> list[Any]:
    """Call each in a thread of its own, all at once; what they return, or the error they raise."""
    barrier = threading.Barrier(len(parts))
    results: list[Any] = [None] * len(parts)

    def call(place: int, part: Callable[[], Any]) -> None:
        barrier.wait(timeout=60)
        try:
            results[place] = part()
        except Exception as error:  # noqa: BLE001  (the test judges it)
            results[place] = error

    threads = [
        threading.Thread(target=call, args=(place, part)) for place, part in enumerate(parts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a thread hangs"
    return results


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect every statement that goes over an engine."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
