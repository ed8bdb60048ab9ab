"""The demo from beginning to end: servers, workers, warehouse, run, proofs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from kombu.utils.url import maybe_sanitize_url
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from breakbulk import Breakbulk, RunHandle
from breakbulk.console import words
from breakbulk.console.watching import follow
from breakbulk.demo import place, servers
from breakbulk.demo.crew import Crew
from breakbulk.demo.finale import finale
from breakbulk.demo.following import Followers
from breakbulk.demo.hints import hints
from breakbulk.demo.interrupts import Interrupts, Stopped
from breakbulk.demo.minding import Watched, look_after
from breakbulk.demo.screen import Screen
from breakbulk.demo.warehouse import build, expect, fill
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import LedgerUnreachable

if TYPE_CHECKING:
    from pyramid.router import Router

_POLL_SECONDS = 0.25
#: How often to look for runs that somebody has started on the page.
_RUNS_SECONDS = 1.0
_GOES_ON = (RunStatus.RUNNING, RunStatus.CANCELLING, RunStatus.FINISHING)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Attributes:
        rows: products in the warehouse.
        chunk_size: products in a chunk.
        workers: Celery workers, each with one process that works.
        keep: where the data stays; None for nowhere.
        once: end when the run has ended, also on a terminal.
        database: URL of a database to use; None for one of our own.
        broker: URL of a broker to use; None for one of our own.
        autoscale: begin with one worker, and have as many as the work takes, up to ``workers``.
        record: where what is decided for that is written; None for nowhere.
    """

    rows: int = 1_000_000
    chunk_size: int = 500
    workers: int = 2
    keep: Path | None = None
    once: bool = False
    database: str | None = None
    broker: str | None = None
    autoscale: bool = False
    record: Path | None = None


class Demo:
    """One demo. Whatever is raised, closing ``stack`` leaves nothing behind.

    Args:
        stack: everything that has to be undone.
    """

    def __init__(
        self, options: Options, screen: Screen, interrupts: Interrupts, stack: ExitStack
    ) -> None:
        self._began = time.monotonic()
        self._options = options
        self._screen = screen
        self._interrupts = interrupts
        self._stack = stack
        screen.say(
            "starting",
            f"{words.counted(options.rows, 'product')}, {words.number(options.chunk_size)} a chunk,"
            f" {words.counted(options.workers, 'Celery worker')}.",
            rows=options.rows,
            chunk_size=options.chunk_size,
            workers=options.workers,
        )
        servers.need_web()
        with interrupts.deferred():
            home = stack.enter_context(servers.home(options.keep))
            self._servers = servers.serve(stack, home, options.database, options.broker)
        self._file = home / "demo.ini"
        self._shop = self._open_shop()
        self._bulk: Breakbulk = self._shop.registry["breakbulk"]
        self._engine: Engine = self._shop.registry["dbsession_factory"].kw["bind"]
        stack.callback(self._engine.dispose)
        self._make_tables()
        with interrupts.deferred():
            self._crew: Crew | Followers = self._hire(home)
            stack.callback(self._crew.stop)
            self._crew.start()
        self._tell()
        if screen.lasts:
            from breakbulk.demo.site import site

            self._link = stack.enter_context(site(self._shop, screen))
        else:
            screen.remark(
                "  shop      on a terminal, or with --stay, its page and dashboard are there, too"
            )

    def _hire(self, home: Path) -> Crew | Followers:
        options = self._options
        if not options.autoscale:
            return Crew(home, self._file, options.workers)
        return Followers(
            self._bulk,
            home,
            self._file,
            most=options.workers,
            screen=self._screen,
            record=options.record,
        )

    def settle(self) -> None:
        """Wait until the workers that are needed no more have gone."""
        while isinstance(self._crew, Followers) and not self._crew.settled:
            self._wait()

    def perform(self, before_proofs: Callable[[Engine, RunHandle], None]) -> int:
        """Run the job and prove what it did; what to exit with."""
        run = self._unfinished_run() or self._submit()
        if self._screen.lasts:
            self._hint()
        return self._watch(run, before_proofs)

    def stay(self) -> None:
        """Stay up until a signal says that somebody has seen enough."""
        self._screen.say("staying", f"\nEverything stays up {self._screen.until}")
        self._hint()
        try:
            while True:
                run = self._next_run()
                self._screen.say("submitted", f"\nRun {run.id} is submitted.", run=run.id)
                self._watch(run, lambda _engine, _run: None)
                self._screen.say("staying", f"\nEverything still stays up {self._screen.until}")
        except Stopped:
            return

    def _watch(self, run: RunHandle, before_proofs: Callable[[Engine, RunHandle], None]) -> int:
        """Show a run until it has ended, and what it did; what to exit with."""
        screen = self._screen
        self._seen = run.id
        with Watched(screen.view(run.record()), self._look) as view:
            while follow(run, view).status is RunStatus.PAUSED and screen.lasts:
                self._wait()
        before_proofs(self._engine, run)
        assert view.first_at is not None
        figures = {
            "first_progress_after": round(view.first_at - self._began, 2),
            "demo_seconds": round(time.monotonic() - self._began, 2),
        }
        return finale(self._engine, run, screen, figures)

    def _next_run(self) -> RunHandle:
        """Wait until somebody has started another run: on the page, say."""
        asked = time.monotonic()
        while True:
            self._wait()
            if time.monotonic() - asked < _RUNS_SECONDS:
                continue
            asked = time.monotonic()
            # A database that does not answer may do so later; one of our own is looked after.
            with suppress(LedgerUnreachable):
                for run in self._bulk.runs(limit=1):
                    if run.id > self._seen:
                        return self._bulk.run(run.id)

    def _open_shop(self) -> Router:
        self._stack.callback(self._file.unlink, missing_ok=True)
        place.write(
            self._file,
            database=self._servers.database,
            broker=self._servers.broker,
            chunk_size=self._options.chunk_size,
        )
        from pyramid.paster import get_app

        # As pserve does it.
        return get_app(str(self._file))

    def _make_tables(self) -> None:
        bulk = self._bulk
        # First, for a database that is not ours gets no tables when nothing will come of it.
        if bulk.broker is not None and self._options.broker is not None:
            bulk.broker.ping()
            queue = bulk.broker.queue_for(None)
            self._stack.callback(servers.forget_queue, self._options.broker, queue)
        if self._engine.dialect.name == "sqlite":
            # It stays with the file: readers and the one writer do not stand in each other's way.
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        bulk.upgrade()
        build(self._engine)

    def _unfinished_run(self) -> RunHandle | None:
        """The run of an earlier demo that did not get to its end, going on."""
        unfinished = [status for status in RunStatus if status not in FINISHED]
        for run in self._bulk.runs(job="ProcessWarehouse", statuses=unfinished):
            self._screen.say(
                "continued",
                f"Run {run.id} of an earlier demo is {run.status}; it goes on where it was.",
                run=run.id,
            )
            handle = self._bulk.run(run.id)
            if run.status not in _GOES_ON:
                handle.resume()
            return handle
        return None

    def _submit(self) -> RunHandle:
        from breakbulk.demo.shop.jobs import ProcessWarehouse

        began, rows = time.monotonic(), self._options.rows
        counter = self._screen.counter("filling", rows)
        filled = fill(self._engine, rows, counter)
        took = words.duration(time.monotonic() - began)
        self._screen.say(
            "filled",
            f"The warehouse was filled in {took}." if filled else "The warehouse is full already.",
            products=rows,
            filled=filled,
        )
        key = uuid4().hex
        with Session(self._engine) as session, session.begin():
            expect(session, key)
        run = self._bulk.submit(ProcessWarehouse(), idempotency_key=key)
        self._screen.say("submitted", f"Run {run.id} is submitted.", run=run.id)
        return run

    def _tell(self) -> None:
        database, broker = map(maybe_sanitize_url, (self._servers.database, self._servers.broker))
        pids = self._crew.pids
        self._screen.say(
            "started",
            f"  database  {database}\n  broker    {broker}\n"
            f"  workers   {', '.join(f'process {pid}' for pid in pids)}",
            database=database,
            broker=broker,
            workers=pids,
            file=str(self._file),
        )

    def _hint(self) -> None:
        self._screen.say("hint", hints(self._file, self._servers, self._a_worker(), self._link()))

    def _a_worker(self) -> int:
        # For an instant there may be none: it was killed, and the next look replaces it.
        return next(iter(self._crew.pids), 0)

    def _look(self) -> None:
        look_after(self._crew, self._servers, self._screen, self._interrupts)

    def _wait(self) -> None:
        time.sleep(_POLL_SECONDS)
        self._look()


def show(
    options: Options,
    screen: Screen,
    interrupts: Interrupts,
    before_proofs: Callable[[Engine, RunHandle], None] = lambda _engine, _run: None,
) -> int:
    """Give the demo; what to exit with.

    Args:
        before_proofs: called when the run has ended, for those who want to see a proof fail.

    Raises:
        Stopped: a signal ended it early.
        BreakbulkError: it cannot go on.
    """
    with ExitStack() as stack:
        try:
            demo = Demo(options, screen, interrupts, stack)
            code = demo.perform(before_proofs)
            demo.settle()
            if screen.lasts and not options.once:
                demo.stay()
            return code
        finally:
            # Whatever comes now would only disturb the clearing up.
            interrupts.ignore()
            screen.last_words("Stopping workers and servers ...")
