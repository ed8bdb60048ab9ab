"""A quay: a yard in which lanes, stewards, operators and the team are strands of a loom.

Its rows are *crates*. Each may have a temper, which befalls whoever processes it; so may the
callback. What the team does to its rows, and when runs were submitted, is written down.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from breakbulk import CancelRun, Snooze
from breakbulk.domain.status import WORKABLE, ChunkStatus
from breakbulk.errors import LedgerUnreachable, OverlapError, StateError
from breakbulk.ledger import Database
from breakbulk.runner.work import work
from tests.support.loom import Killed, Loom, Stop, Strand, Stride
from tests.support.stops import FROZEN_SECONDS, Server, Time, stops
from tests.support.tallyman import Tallyman
from tests.support.yard import Boom, Crew, Yard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Engine

    from breakbulk import Chunk, FinishedRun, RunHandle

#: Of workers, in seconds of the loom's own time: the machine this runs on may stall as it likes.
LEASE = 100.0


class Base(DeclarativeBase):
    """The team's own tables."""


class Crate(Base):
    """A row to be processed: ``version`` counts how often."""

    __tablename__ = "crates"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(default=0)


class Mark(Base):
    """What ``process()`` leaves behind for each row."""

    __tablename__ = "marks"

    id: Mapped[int] = mapped_column(primary_key=True)
    run: Mapped[int]
    crate: Mapped[int]
    number: Mapped[int]
    path: Mapped[str]


class Call(Base):
    """What a callback leaves behind."""

    __tablename__ = "calls"

    id: Mapped[int] = mapped_column(primary_key=True)
    run: Mapped[int]
    round: Mapped[int]
    name: Mapped[str]


class Temper(StrEnum):
    """What befalls whoever processes a row, or calls back."""

    BAD = "it raises"
    DEADLY = "it kills the process"
    DROWSY = "it snoozes"
    TIRED = "it snoozes for a minute"
    FATAL = "it cancels the run"
    CLASH = "a serialization failure, once"
    FULL = "the disk is full, once"
    GONE = "the connection is cut, once"


ONCE = {Temper.CLASH: "40001", Temper.FULL: "53100", Temper.GONE: ""}


def empty(engine: Engine) -> None:
    """Empty all tables."""
    schema = Database(engine).schema
    with engine.begin() as connection:
        for table in (*Base.metadata.tables.values(), *schema.metadata.tables.values()):
            connection.execute(delete(table))
        connection.execute(insert(schema.leader).values(id=1))


class Quay:
    """The world of one example.

    Args:
        engine: with all tables, all empty.
        server: the PostgreSQL server behind it; None on SQLite.
        keys: those of the crates.
        forks: each lane is a process, which can be killed; else threads, which cannot.
        knobs: settings of the product.
    """

    def __init__(
        self,
        engine: Engine,
        server: Server | None,
        keys: Collection[int],
        *,
        forks: bool,
        **knobs: Any,
    ) -> None:
        self.server = server
        self.forks = forks
        self.loom = Loom(server)
        self.time = Time(self.loom, server)
        self.yard = Yard(engine, shared=True, lease_seconds=LEASE, **knobs)
        self.yard.bulk.starting._schema_fits = True
        #: "Come and work": anybody may come at any time, so nobody has to read them.
        self.yard.bulk.broker.send_lanes = lambda *_: True  # type: ignore[method-assign,union-attr]
        self.tempers: dict[int, Temper] = {}
        self.callback: Temper | None = None
        #: Keys that were there when runs were submitted, and those the team has meant to delete.
        self.born: list[frozenset[int]] = []
        self.deleted: set[int] = set()
        self.used = set(keys)
        self.crews: list[Crew] = []
        self.late: dict[Any, set[tuple[int, str]]] = {}
        with engine.begin() as connection:
            if rows := [{"id": key} for key in keys]:
                connection.execute(insert(Crate), rows)
        self.tallyman = Tallyman(
            engine,
            self.yard.ledger.database.schema,
            self.loom,
            crates=Crate.__tablename__,
            marks=Mark.__tablename__,
            calls=Call.__tablename__,
        )
        self._stack = ExitStack()
        self._stack.enter_context(stops(engine, self.loom, self.tallyman, self.time, server))
        self.job: type[Any] | None = None

    def close(self) -> None:
        """Let go of everything; what still goes on is killed."""
        try:
            for strand in list(self.loom.strands):
                self.loom.kill(strand)
        finally:
            self._stack.close()
            self.tallyman.close()
            self.yard.close()

    def declare(self, *, filtered: bool, has_failed: bool, **options: Any) -> None:
        """Declare the job."""
        self.job = self.yard.job(
            self._process,
            source=lambda: select(Crate).where(Crate.version >= 0) if filtered else select(Crate),
            finished=lambda run: self._called(run, "finished"),
            failed=(lambda run: self._called(run, "failed")) if has_failed else None,
            **options,
        )

    # What user code does

    def _process(self, chunk: Chunk[Crate]) -> None:
        strand = self.loom.current
        assert strand is not None
        self.tallyman.begins(strand, chunk)
        self._obey(strand, chunk)
        name = (int(chunk.run.id), chunk._claim.ref.number, chunk._claim.ref.path)
        self.loom.pause(Stop.WORK, f"the work on {name}")
        rows = list(chunk)
        for row in rows:
            row.version += 1
            chunk.session.add(Mark(run=name[0], crate=row.id, number=name[1], path=name[2]))
        chunk.session.flush()
        for row in rows:
            self._befall(strand, chunk.session, self.tempers.get(row.id), row.id)
        self.loom.pause(Stop.WORKED, f"the end of the work on {name}")

    def _obey(self, strand: Strand, chunk: Chunk[Crate]) -> None:
        """Once a run is being stopped a lane begins no more than the one chunk in hand."""
        lane = strand.notes["lane"]
        if self.tallyman.latest.runs[chunk.run.id].status in WORKABLE:
            self.late.pop(lane, None)
            return
        late = self.late.setdefault(lane, set())
        late.add((chunk.number, chunk._claim.ref.path))
        if len(late) > 1:
            self.loom.mistakes.append(AssertionError(f"{strand} goes on though stopped: {late}"))

    def _called(self, run: FinishedRun, name: str) -> None:
        strand = self.loom.current
        assert strand is not None
        self.tallyman.calls_back(run)
        self.loom.pause(Stop.WORK, f"{name}() of run {run.id}")
        run.session.add(Call(run=run.id, round=run.round, name=name))
        run.session.flush()
        self._befall(strand, run.session, self.callback, None)
        self.loom.pause(Stop.WORKED, f"the end of {name}() of run {run.id}")

    def _befall(
        self, strand: Strand, session: Session, temper: Temper | None, key: int | None
    ) -> None:
        if temper in ONCE:
            if key is None:
                self.callback = None
            else:
                del self.tempers[key]
        match temper:
            case Temper.BAD:
                raise Boom(str(key))
            case Temper.DEADLY:
                strand.doomed = True
                self.loom.cut(strand)
                raise Killed
            case Temper.DROWSY | Temper.TIRED if key is not None:
                raise Snooze(0 if temper is Temper.DROWSY else 60)
            case Temper.FATAL if key is not None:
                raise CancelRun("a row says so")
            case Temper.CLASH | Temper.FULL:
                self._complain(session, ONCE[temper])
            case Temper.GONE if self.server is not None:
                self.loom.cut(strand)
                session.execute(text("SELECT 1"))
            case _:
                return

    def _complain(self, session: Session, state: str) -> None:
        """Have the database say so itself."""
        if self.server is not None:
            session.execute(text(f"DO $$ BEGIN RAISE 'now' USING ERRCODE = '{state}'; END $$"))
        elif state == ONCE[Temper.FULL]:
            session.execute(text("PRAGMA query_only = ON"))
            try:
                session.execute(delete(Mark))
            finally:
                session.execute(text("PRAGMA query_only = OFF"))

    # Who acts

    def go(self, strand: Strand, stride: Stride) -> None:
        """Let a strand go on, and see what came of it."""
        self.loom.advance(strand, stride)
        self.look_after()

    def look_after(self) -> None:
        """See what came of strands that are over, and kill what stewards wanted to end.

        Raises:
            AssertionError: one of them ended with an error that nobody has asked for.
        """
        for crew in self.crews:
            for strand in list(self.loom.strands) if self.forks else ():
                if strand.notes.get("lane") in crew.ended:
                    self.loom.kill(strand)
            crew.ended.clear()
        ended, self.loom.ended = self.loom.ended, []
        for strand in ended:
            if strand.error is not None and not self._asked_for(strand, strand.error):
                raise AssertionError(f"{strand} ended with {strand.error!r}") from strand.error
        self.loom.complain()

    @staticmethod
    def _asked_for(strand: Strand, error: BaseException) -> bool:
        if isinstance(error, (StateError, OverlapError)):
            return bool(strand.notes.get("verb"))
        return isinstance(error, (DBAPIError, LedgerUnreachable)) and strand.excused

    def lane(self, crew: Crew) -> Strand:
        """A message comes to a worker."""
        process = replace(crew.process, stopping=lambda: crew.draining)
        strand = self.loom.spawn(
            f"lane of {self._named(crew)}",
            lambda: work(crew.runtime, process, "celery", 1e6),
        )
        strand.notes["crew"] = crew
        return strand

    def tick(self, crew: Crew) -> Strand:
        """The steward of a worker: as he looks around already, or about to."""
        for strand in self.loom.strands:
            if strand.notes.get("steward") is crew:
                return strand
        strand = self.loom.spawn(f"steward of {self._named(crew)}", crew.tick)
        strand.notes["crew"] = strand.notes["steward"] = crew
        return strand

    def verb(self, name: str, call: Callable[[], Any]) -> Strand:
        """An operator, or somebody of the team."""
        strand = self.loom.spawn(name, call)
        strand.notes["verb"] = True
        return strand

    def join(self) -> Crew:
        """Another worker starts."""
        strand = self.verb("a new worker", self.yard.crew)
        self.go(strand, Stride.THROUGH)
        assert strand.over, f"no worker can register: {self.loom.described()}"
        crew: Crew = strand.result
        self.crews.append(crew)
        return crew

    def submit(self, **options: Any) -> Strand:
        """Somebody submits the job."""
        assert self.job is not None
        self.born.append(frozenset(self.tallyman.latest.crates))
        return self.verb("submit", partial(self.yard.submit, self.job, **options))

    @property
    def handles(self) -> list[RunHandle]:
        """All runs, whether or not whoever submitted them has lived to see it."""
        return [self.yard.bulk.run(run) for run in sorted(self.tallyman.latest.runs)]

    @property
    def stable(self) -> frozenset[int]:
        """Keys of rows that were there for every run and still are."""
        return frozenset.intersection(*self.born) - self.deleted

    def hoards(self) -> bool:
        """Whether a lane holds more than the chunk in hand."""
        picture = self.tallyman.latest
        held = Counter(
            (name[0], one.lane)
            for name, one in picture.chunks.items()
            if one.status is ChunkStatus.CARVED
        )
        return any(
            count > 1 and picture.runs[run].status in WORKABLE for (run, _), count in held.items()
        )

    def insert(self, key: int) -> Strand:
        """The team inserts a row."""
        self.used.add(key)
        return self.verb(f"insert {key}", lambda: self._write(insert(Crate).values(id=key)))

    def delete(self, key: int) -> Strand:
        """The team deletes a row."""
        self.deleted.add(key)
        return self.verb(f"delete {key}", lambda: self._write(delete(Crate).where(Crate.id == key)))

    def _named(self, crew: Crew) -> str:
        return f"worker {self.yard._crews.index(crew) + 1}"

    def _write(self, statement: Any) -> None:
        database = self.yard.runtime.database
        with database.turn(), database.engine.begin() as connection:
            connection.execute(statement)

    def leave(self, crew: Crew) -> None:
        """A worker's process is killed with all that it runs."""
        self.crews.remove(crew)
        for strand in list(self.loom.strands):
            if strand.notes.get("crew") is crew:
                self.loom.kill(strand)
        liveness: Any = crew.steward._liveness
        for path in list(getattr(liveness, "_held", ())):
            liveness._let_go(path)

    def time_goes_by(self, seconds: float) -> None:
        """So much later. The server ends who has slept in a transaction for too long."""
        self.time.go_by(seconds)
        if self.server is None or seconds < FROZEN_SECONDS:
            return
        for strand in list(self.loom.strands):
            if not strand.moving and strand.notes.get("limited"):
                self.loom.cut(strand)
        self.loom.come_to_rest()
