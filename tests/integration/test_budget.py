"""What a chunk costs, counted and not timed: the numbers are in ``bench/budget.toml``.

libpq writes down every message of the connections that a lane uses, so that nothing is missed:
neither what SQLAlchemy does not know of, nor what the driver sends by itself.
"""

from __future__ import annotations

import re
import socket
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from psycopg.pq import Trace
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    MetaData,
    Row,
    Table,
    create_engine,
    event,
    insert,
    select,
    text,
    update,
)

from breakbulk import Breakbulk, Chunk
from breakbulk.canvas import group
from breakbulk.domain.status import RunStatus
from breakbulk.ledger.workers import Worker
from breakbulk.runner import outlook
from breakbulk.runner.liveness import liveness
from breakbulk.runner.runtime import Process
from breakbulk.runner.work import work

_BUDGET = tomllib.loads((Path(__file__).parents[2] / "bench" / "budget.toml").read_text("utf-8"))
_CHUNKS = 500
_QUEUE = "budget"
_LONG = 600.0
_PATIENT: dict[str, Any] = dict.fromkeys(("carve_seconds", "tally_seconds", "poll_seconds"), _LONG)
# What ends a round trip of the client's.
_ASKS = {"Sync", "Query"}
# A message: the direction, its length, its name and what is in it, over several lines perhaps.
_MESSAGE = re.compile(
    r"^([FB])\t\d+\t(\w+)(?:\t (.*?))?$(?=\n[FB]\t|\n*\Z)", re.MULTILINE | re.DOTALL
)
_WRITES = ("INSERT", "UPDATE", "DELETE")
_WRITTEN = text(
    "SELECT wal_records, wal_fpi, wal_bytes FROM pg_stat_get_backend_wal(pg_backend_pid())"
)
_PAGE = 8192


@dataclass
class Transaction:
    """What went over the wire from one BEGIN to its end."""

    statements: list[str] = field(default_factory=list)
    """The server's answers: ``BEGIN``, ``SELECT 1``, ``UPDATE 1``, ``COMMIT``."""
    texts: list[str] = field(default_factory=list)
    round_trips: int = 0
    parsed: int = 0
    """Statements that the server had to parse, because they were not prepared."""

    def says(self, text: str) -> bool:
        return any(text in said for said in self.texts)

    @property
    def marks_chunk(self) -> bool:
        return self.says("EXECUTE breakbulk_done_") or self.marks_apart

    @property
    def marks_apart(self) -> bool:
        """Whether the mark and COMMIT are two messages."""
        return self.says("UPDATE breakbulk.chunks SET status") and not self.says("PREPARE ")

    @property
    def writes(self) -> int:
        # The mark is an UPDATE inside of a SELECT, where it has been prepared.
        marks = sum(text.startswith('"EXECUTE breakbulk_done_') for text in self.texts)
        return marks + sum(answer.startswith(_WRITES) for answer in self.statements)


def transactions(trace: str) -> Iterator[Transaction]:
    """Read libpq's trace of one connection."""
    prepared: dict[str, str] = {}
    current = Transaction()
    listening = True
    for direction, name, content in _MESSAGE.findall(trace):
        if direction == "F" and listening:
            current.round_trips += 1
        listening = direction == "B"
        if name == "Query":
            current.texts.append(content)
        elif name == "Parse":
            statement, text = re.match(r'"(.*?)" (.*)', content, re.DOTALL).groups()  # type: ignore[union-attr]
            prepared[statement] = text
            current.parsed += 1
        elif name == "Bind":
            current.texts.append(prepared[content.split('"')[3]])
        elif name == "CommandComplete":
            current.statements.append(content.strip('"'))
        elif name == "ReadyForQuery" and content == "I":
            yield current
            current = Transaction()


@contextmanager
def traced(engine: Engine, path: Path) -> Iterator[None]:
    """Have libpq write down what every new connection of the engine says and hears."""
    opened: list[Any] = []

    @event.listens_for(engine, "connect")
    def _trace(connection: Any, _record: object) -> None:
        file = (path / f"{len(opened)}.trace").open("wb")
        connection.pgconn.trace(file.fileno())
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        opened.append((connection, file))

    try:
        yield
    finally:
        event.remove(engine, "connect", _trace)
        for connection, file in opened:
            connection.pgconn.untrace()
            file.close()


@dataclass
class Counted:
    """What a run took."""

    chunks: list[Transaction]
    others: list[Transaction]

    def usual(self, of: Callable[[Transaction], int]) -> int:
        """What nearly every chunk takes: preparing and the tallies come once in a while."""
        ((value, times),) = Counter(map(of, self.chunks)).most_common(1)
        assert times > 0.9 * len(self.chunks)
        return value


@pytest.fixture
def count(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Chunk[Any]], None]], Counted]:
    """Run a job in one lane, in this process, and count what it takes."""
    # Once in a stay of some seconds, which a machine that is busy makes of this.
    monkeypatch.setattr(outlook, "_SETTLED", _LONG)

    def run(process: Callable[[Chunk[Any]], None]) -> Counted:
        engine = create_engine(postgres_url)
        app = Celery("budget", broker="memory://")
        # Nothing may depend on the clock: as many chunks at a time as there may be, no pauses.
        bulk = Breakbulk(engine, celery=app, slice_seconds=_LONG, **_PATIENT)

        @bulk.job(chunk_size=2, queue=_QUEUE)
        class Job:
            def source(self) -> Any:
                return select(_rows)

            def process(self, chunk: Chunk[Any]) -> None:
                process(chunk)

        _fill(engine)
        bulk.upgrade()
        handle = bulk.submit(Job())
        here = _register(bulk)
        engine.dispose()
        with traced(engine, tmp_path):
            work(bulk.runtime, here, _QUEUE, _LONG)
            engine.pool.dispose()
        assert handle.status() is RunStatus.SUCCEEDED
        engine.dispose()
        texts = [path.read_text("utf-8", "replace") for path in sorted(tmp_path.glob("*.trace"))]
        found = [one for text in texts for one in transactions(text)]
        return Counted(
            [one for one in found if one.marks_chunk], [one for one in found if not one.marks_chunk]
        )

    return run


def _ask(chunk: Chunk[Any]) -> None:
    assert chunk.session.in_transaction()


def tight(counted: int, allowed: float, *, of: int = _CHUNKS) -> None:
    """Whether so much is within what a chunk may take, and no tenth of that is for nothing."""
    each = counted / of
    assert 0.9 * allowed <= each <= allowed, f"{each:g} a chunk, with {allowed:g} in the budget"


def test_a_chunk_is_one_transaction_with_one_mark(
    count: Callable[[Callable[[Chunk[Any]], None]], Counted],
) -> None:
    counted = count(_ask)
    allowed = _BUDGET["chunk"]

    assert len(counted.chunks) == _CHUNKS
    for one in counted.chunks:
        assert one.statements[0] == "BEGIN"
        assert one.statements[-1] == "COMMIT"
        assert one.statements.count("BEGIN") == 1
        assert one.statements.count("COMMIT") == allowed["commits"]
        assert one.writes == allowed["writes"]
        assert "pg_advisory_xact_lock" in " ".join(one.texts[:2])
    assert counted.usual(lambda one: len(one.statements)) == allowed["statements"]
    assert counted.usual(lambda one: one.round_trips) == allowed["round_trips"]
    assert counted.usual(lambda one: one.parsed) == 0, "the done-mark is prepared"


def test_a_chunk_that_asks_for_no_session_is_one_statement(
    count: Callable[[Callable[[Chunk[Any]], None]], Counted],
) -> None:
    counted = count(lambda _chunk: None)
    allowed = _BUDGET["idle"]

    assert len(counted.chunks) == _CHUNKS
    assert counted.usual(lambda one: len(one.statements)) == allowed["statements"]
    assert counted.usual(lambda one: one.round_trips) == allowed["round_trips"]
    assert counted.usual(lambda one: one.parsed) == 0, "the done-mark is prepared"


def test_what_a_run_takes_beside_its_chunks(
    count: Callable[[Callable[[Chunk[Any]], None]], Counted],
) -> None:
    counted = count(lambda _chunk: None)
    allowed = _BUDGET["run"]

    carves = [one for one in counted.others if one.says("INSERT INTO breakbulk.chunks")]
    assert 0 < len(carves) <= allowed["carves"] * _CHUNKS
    assert len(counted.others) <= allowed["other_transactions"] * _CHUNKS
    assert sum(one.round_trips for one in counted.others) <= allowed["other_round_trips"] * _CHUNKS


def test_a_statement_of_the_users_costs_itself(
    count: Callable[[Callable[[Chunk[Any]], None]], Counted],
) -> None:
    def process(chunk: Chunk[Any]) -> None:
        assert len(list(chunk)) == 2
        chunk.session.execute(update(_rows).where(chunk.where).values(v=1))

    counted = count(process)
    chunk, statement = _BUDGET["chunk"], _BUDGET["process"]

    assert len(counted.chunks) == _CHUNKS
    assert (
        counted.usual(lambda one: len(one.statements))
        == chunk["statements"] + 2 * statement["statements"]
    )
    assert (
        counted.usual(lambda one: one.round_trips)
        == chunk["round_trips"] + 2 * statement["round_trips"]
    )


def test_how_much_a_chunk_writes_to_the_log(
    count: Callable[[Callable[[Chunk[Any]], None]], Counted],
) -> None:
    """Of the lane's own session, so that it does not matter who else writes on the server."""
    first, last = 100, 400
    written: dict[int, Row[Any]] = {}

    def process(chunk: Chunk[Any]) -> None:
        if chunk.number in (first, last):
            # At the end of this chunk's transaction, which is the last that is counted.
            chunk.session.execute(text("SELECT pg_stat_force_next_flush()"))
        elif chunk.number - 1 in (first, last):
            written[chunk.number - 1] = chunk.session.execute(_WRITTEN).one()

    count(process)
    chunks = last - first
    records, whole_pages, size = (
        after - before for before, after in zip(written[first], written[last], strict=True)
    )
    allowed = _BUDGET["chunk"]
    # What a checkpoint in between makes of the first change of each page is not the chunk's.
    tight(int(size) - whole_pages * _PAGE, allowed["wal_bytes"], of=chunks)
    tight(records, allowed["wal_records"], of=chunks)


def test_a_part_of_a_canvas_takes_its_mark_and_result_in_one(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "_SETTLED", _LONG)
    engine = create_engine(postgres_url)
    app = Celery("budget", broker="memory://", set_as_current=False)
    bulk = Breakbulk(engine, celery=app, slice_seconds=_LONG, **_PATIENT)
    app.task(name="budget.part", shared=False)(_part)
    bulk.upgrade()
    handle = group(app.signature("budget.part", (n,)) for n in range(_CHUNKS)).apply_async(
        queue=_QUEUE
    )
    here = _register(bulk)
    engine.dispose()
    with traced(engine, tmp_path):
        work(bulk.runtime, here, _QUEUE, _LONG)
        engine.pool.dispose()
    assert list(handle.results()) == list(range(_CHUNKS))
    engine.dispose()
    texts = [path.read_text("utf-8", "replace") for path in tmp_path.glob("*.trace")]
    trips = sum(name in _ASKS for one in texts for _, name, _ in _MESSAGE.findall(one))
    tight(trips, sum(_BUDGET["part"].values()))


def _part(number: int) -> int:
    return number


_rows = Table(
    "budget_rows",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("v", Integer, nullable=False),
)


def _fill(engine: Engine) -> None:
    _rows.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(_rows), [{"id": n, "v": 0} for n in range(2 * _CHUNKS)])


def _register(bulk: Breakbulk) -> Process:
    here = Process.current(uuid4())
    worker = Worker(
        id=here.worker_id,
        host=socket.gethostname(),
        pid=here.pid,
        slots=1,
        pool="test",
        queues=(_QUEUE,),
        jobs=tuple(bulk.jobs.all()),
        version="",
    )
    with bulk.runtime.database.connect() as connection:
        liveness(bulk.runtime).renew(connection, worker)
    return here
