"""Where the product's own code stops when it runs as a strand of a loom.

Nothing of the product is rewritten: its engine is listened to, its clocks are ours, and what it
would start as a thread of its own becomes a strand. Everything below that is real.
"""

from __future__ import annotations

import random
import re
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import NullPool, create_engine, event, text
from sqlalchemy.ext.compiler import compiles

from breakbulk.ledger import chunks, database, lastword
from breakbulk.ledger.driver import answers_to, ask, begin_with
from breakbulk.ledger.sql import clock
from breakbulk.ledger.turnstile import Turnstile
from breakbulk.runner import attempt, finish, hand, lane, pacing, patience, rescue, steward, work
from breakbulk.runner.runtime import LiveLanes, live_lanes
from tests.support.loom import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Engine
    from sqlalchemy.sql.compiler import SQLCompiler

    from tests.support.loom import Loom, Strand

_TIMED = (attempt, finish, hand, lane, pacing, patience, rescue, steward, work)
#: Waits by chance.
_BY_CHANCE = (pacing, patience)
#: Tokens have an order, by which rows may come.
_DRAWING = (finish, hand, work)
_READS = re.compile(
    r"\s*(SELECT|WITH|SET|RESET|SHOW|PRAGMA|BEGIN|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE
)
_COMMIT = "COMMIT"
#: What libpq calls a transaction that is open and healthy.
_IN_TRANSACTION = 2
#: Noted of a strand that has committed with a last word.
_SAID = "said"
_LIMIT = "idle_in_transaction_session_timeout"
#: The server's patience with a session that sleeps in a transaction, in seconds.
FROZEN_SECONDS = database._FROZEN / 1000
_SKEW = "skew"
#: Milliseconds; a shared machine may stall for as long as it likes.
_LIVELY = 600_000


class Mishap(Enum):
    """What may happen to a COMMIT that a strand stands before."""

    UNSENT = "the connection is cut before it is sent"
    UNANSWERED = "it happens, and the connection is cut before the answer comes"


class _Refused(Exception):
    """The server has not committed."""


class Watch(Protocol):
    """Whoever looks at what strands do, from the outside."""

    def statement(self, strand: Strand, words: str) -> None:
        """A strand is about to execute a statement."""

    def after_commit(self, strand: Strand) -> None:
        """A strand has committed what it has written."""

    def after_rollback(self, strand: Strand) -> None:
        """A strand's transaction is gone."""


class Server:
    """The sessions of a PostgreSQL server, and its clock."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._connection = self._engine.connect()
        self.ask(f"CREATE TABLE IF NOT EXISTS {_SKEW} AS SELECT CAST(0 AS double precision) AS s")

    def ask(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        result = self._connection.execute(text(query), values)
        return list(result) if result.returns_rows else []

    def waits(self, pids: Iterable[int]) -> dict[int, set[int]]:
        """Those of these sessions that wait for a lock, and the sessions they wait for."""
        found = self.ask(
            "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity"
            " WHERE pid = ANY(CAST(:pids AS int[])) AND wait_event_type = 'Lock'",
            pids=list(pids),
        )
        return {int(pid): set(blockers) for pid, blockers in found if blockers}

    def end(self, pids: Iterable[int]) -> None:
        """End sessions, and wait until they are gone."""
        query = "SELECT pg_terminate_backend(pid, 60000) FROM unnest(CAST(:pids AS int[])) AS pid"
        self.ask(query, pids=[pid for pid in pids if self._lives(pid)])

    def shift(self, seconds: float) -> None:
        """Let the database's clock be so much ahead."""
        self.ask(f"UPDATE {_SKEW} SET s = :seconds", seconds=seconds)

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()
        self._engine.dispose()

    def _lives(self, pid: int) -> bool:
        return bool(self.ask("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=pid))


class Time:
    """The clocks of the processes and that of the database: they go when they are told to."""

    def __init__(self, loom: Loom, server: Server | None) -> None:
        self._loom = loom
        self._server = server
        self.ahead = 0.0
        if server is not None:
            server.shift(0.0)

    def monotonic(self) -> float:
        """In place of that of the module ``time``."""
        return 1_000_000.0 + self.ahead

    def sleep(self, seconds: float) -> None:
        """Likewise."""
        self._loom.pause(Stop.SLEEP, f"a sleep of {seconds:g} s")
        self.go_by(seconds)

    def go_by(self, seconds: float) -> None:
        """Let time go by."""
        self.ahead += seconds
        if self._server is not None:
            self._server.shift(self.ahead)


@contextmanager
def stops(
    engine: Engine, loom: Loom, watch: Watch, time: Time, server: Server | None
) -> Iterator[None]:
    """Let everything that strands do on an engine stop where it can be interrupted.

    Use an engine of its own: the statements compiled for it have the machine's clock in them.
    """
    with ExitStack() as stack:
        for module in _TIMED:
            stack.enter_context(patch.object(module, "time", time))
        drawn = random.Random(0)
        for module in _BY_CHANCE:
            stack.enter_context(patch.object(module, "random", drawn))
        for module in _DRAWING:
            stack.enter_context(patch.object(module, "uuid4", partial(_token, drawn)))
        stack.enter_context(_database_clock(time))
        stack.enter_context(patch.object(database, "_FROZEN", _LIVELY))
        stack.enter_context(patch.object(work, "_abandon", partial(_abandon, loom)))
        stack.enter_context(patch.object(LiveLanes, "add", _noted(loom, LiveLanes.add)))
        stack.enter_context(patch.object(Turnstile, "turn", _queued(loom, Turnstile.turn)))
        stack.enter_context(patch.object(chunks, "begin_with", _begun(loom, watch, begin_with)))
        stack.enter_context(patch.object(chunks, "ask", _asked(loom, watch, ask)))
        said = _last_words(loom, watch, server, answers_to)
        stack.enter_context(patch.object(lastword, "answers_to", said))
        dialect = engine.dialect
        stack.enter_context(
            patch.object(dialect, "do_commit", _committing(loom, watch, server, dialect.do_commit))
        )
        stack.enter_context(
            patch.object(dialect, "do_rollback", _rolling_back(loom, watch, dialect.do_rollback))
        )
        for target, name, call in (
            (engine, "before_cursor_execute", _statement(loom, watch)),
            (engine, "after_cursor_execute", _executed(loom, server)),
            (engine, "checkout", _checkout(loom, time)),
            (engine, "checkin", _checkin(loom)),
            (engine, "invalidate", _invalidated(loom, watch)),
        ):
            event.listen(target, name, call)
            stack.callback(event.remove, target, name, call)
        yield


@contextmanager
def _database_clock(time: Time) -> Iterator[None]:
    """Let the ledger's clock be ahead as the processes' is."""

    def postgresql(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
        shift = compiler.process(element.clauses, **kw) or "0.0"
        return f"(clock_timestamp() + make_interval(secs => {shift} + (SELECT s FROM {_SKEW})))"

    def sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
        shift = compiler.process(element.clauses, **kw) or "0.0"
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', ({shift} + {_SKEW}()) || ' seconds')"

    specs = clock._compiler_dispatcher.specs  # type: ignore[attr-defined]
    before = dict(specs)
    compiles(clock, "postgresql")(postgresql)
    compiles(clock, "sqlite")(sqlite)
    try:
        yield
    finally:
        specs.update(before)


def _token(drawn: random.Random) -> UUID:
    return UUID(int=drawn.getrandbits(128), version=4)


def _abandon(loom: Loom, runtime: Any, lost: Any) -> None:
    strand = loom.current
    if strand is not None and strand.doomed:
        live_lanes.remove(lost.token)
        return
    loom.spawn(f"sign-off of lane {lost.number}", partial(work._sign_off, runtime, lost))


def _noted(loom: Loom, add: Callable[..., None]) -> Callable[..., None]:
    def noted(self: LiveLanes, token: Any) -> None:
        if loom.current is not None:
            loom.current.notes["lane"] = token
        add(self, token)

    return noted


def _queued(loom: Loom, turn: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def queued(self: Turnstile) -> Iterator[None]:
        strand = loom.current
        if strand is None:
            assert loom.writer is None, f"{loom.writer} has the turn and will not give it back"
            with turn(self):
                yield
            return
        loom.pause(Stop.TURN)
        while loom.writer is not None and loom.writer is not strand:
            strand.halt(Stop.TURN, f"the turn of {loom.writer}")
        with turn(self):
            loom.writer = strand
            try:
                yield
            finally:
                loom.writer = None

    return queued


def _begun(loom: Loom, watch: Watch, begin: Callable[..., Any]) -> Callable[..., Any]:
    def begun(driver: Any, query: str) -> Any:
        strand = loom.current
        if strand is None:
            return begin(driver, query)
        loom.pause(Stop.STATEMENT, "BEGIN of a chunk")
        watch.statement(strand, query)
        try:
            return begin(driver, query)
        except Exception:
            # Its code is at work already, and what it does next is in no transaction of the chunk.
            watch.after_rollback(strand)
            raise

    return begun


def _asked(loom: Loom, watch: Watch, ask: Callable[..., Any]) -> Callable[..., Any]:
    stop = _statement(loom, watch)

    def asked(connection: Any, query: str, values: Any) -> Any:
        stop(None, None, query)
        return ask(connection, query, values)

    return asked


def _committing(
    loom: Loom, watch: Watch, server: Server | None, commit: Callable[..., None]
) -> Callable[..., None]:
    def committing(connection: Any) -> None:
        strand = loom.current
        # SQLAlchemy's own comes after a last word, and finds nothing to commit.
        if strand is None or strand.notes.pop(_SAID, False):
            commit(connection)
            return
        loom.pause(Stop.COMMIT, "COMMIT")
        mishap = strand.notes.pop("mishap", None)
        wrote = strand.notes.get("wrote", False)
        if mishap is not None:
            assert server is not None
            if mishap is Mishap.UNANSWERED:
                commit(connection)
                _after(strand, watch, wrote=wrote)
                # So that there is a COMMIT to be sent to a session that is gone.
                connection.driver_connection.execute("SELECT 1")
            loom.cut(strand)
        commit(connection)
        _after(strand, watch, wrote=wrote)
        loom.give_way(Stop.COMMITTED)
        loom.pause(Stop.COMMITTED)

    return committing


def _last_words(
    loom: Loom, watch: Watch, server: Server | None, answers_to: Callable[..., list[Any]]
) -> Callable[..., list[Any]]:
    """Say the done-mark and COMMIT one after the other, as the server does them.

    So whoever waits for a lock with the mark stops again before the COMMIT, like any other.
    """
    stop = _statement(loom, watch)

    def said(driver: Any, message: str) -> list[Any]:
        strand, (mark, end, rest) = loom.current, message.rpartition(f";{_COMMIT}")
        if strand is None or not end or rest:
            return answers_to(driver, message)
        stop(None, None, mark)
        answers = answers_to(driver, mark)
        if driver.pgconn.transaction_status != _IN_TRANSACTION:
            # The server has given it up, whenever it is told to roll back.
            watch.after_rollback(strand)
            return answers

        def commit(_connection: Any) -> None:
            answers[1:] = answers_to(driver, _COMMIT)
            if answers[-1].command_status != _COMMIT.encode():
                raise _Refused

        with suppress(_Refused):
            _committing(loom, watch, server, commit)(SimpleNamespace(driver_connection=driver))
            strand.notes[_SAID] = True
        return answers

    return said


def _after(strand: Strand, watch: Watch, *, wrote: bool) -> None:
    strand.notes.pop("limited", None)
    strand.notes.pop("wrote", None)
    if wrote:
        watch.after_commit(strand)


def _gone(strand: Strand, watch: Watch) -> None:
    strand.notes.pop(_SAID, None)
    strand.notes.pop("limited", None)
    strand.notes.pop("wrote", None)
    watch.after_rollback(strand)


def _rolling_back(loom: Loom, watch: Watch, rollback: Callable[..., None]) -> Callable[..., None]:
    def rolling_back(connection: Any) -> None:
        strand = loom.current
        if strand is None:
            rollback(connection)
            return
        if strand.doomed:
            with suppress(Exception):
                rollback(connection)
            return
        try:
            rollback(connection)
        finally:
            _gone(strand, watch)
        loom.give_way(Stop.ROLLED_BACK)
        loom.pause(Stop.ROLLED_BACK)

    return rolling_back


def _statement(loom: Loom, watch: Watch) -> Callable[..., None]:
    def statement(_conn: Any, _cursor: Any, words: str, *_: Any) -> None:
        strand = loom.current
        if strand is None:
            return
        loom.pause(Stop.STATEMENT, " ".join(words.split())[:70])
        watch.statement(strand, words)
        if not _READS.match(words):
            strand.notes["wrote"] = True
        if _LIMIT in words:
            strand.notes["limited"] = True

    return statement


def _executed(loom: Loom, server: Server | None) -> Callable[..., None]:
    def executed(_conn: Any, _cursor: Any, words: str, parameters: Any, *_: Any) -> None:
        if server is None or loom.current is None or "pg_terminate_backend" not in words:
            return
        ended = set(parameters.values() if isinstance(parameters, dict) else parameters)
        for strand in loom.strands:
            strand.excused = strand.excused or bool(strand.pids & ended)
        # The server only asked it to end.
        server.end(ended)
        loom.give_way(Stop.STATEMENT)

    return executed


def _checkout(loom: Loom, time: Time) -> Callable[..., None]:
    def checkout(driver: Any, _record: Any, _proxy: Any) -> None:
        if not hasattr(driver, "info"):
            driver.create_function(_SKEW, 0, lambda: time.ahead)
        elif loom.current is not None:
            loom.current.sessions[id(driver)] = driver.info.backend_pid

    return checkout


def _checkin(loom: Loom) -> Callable[..., None]:
    def checkin(driver: Any, record: Any) -> None:
        strand = loom.current
        # A driver whose connection is gone was taken away before.
        if strand is not None and strand.sessions.pop(id(driver), 0) and strand.doomed:
            record.invalidate()

    return checkin


def _invalidated(loom: Loom, watch: Watch) -> Callable[..., None]:
    def invalidated(driver: Any, _record: Any, _error: Any) -> None:
        if loom.current is not None:
            loom.current.sessions.pop(id(driver), None)
            _gone(loom.current, watch)

    return invalidated
