"""An arena: a stage with workers on which faults strike in the middle of the work.

One *bout* is a run under one fault. The fault strikes at a moment that is drawn from the seed;
that at least one chunk was in flight then, and 10 to 90 % of the rows were done, is read off the
ledger before and right after. If not so, there is another bout.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.support.bout import Bout, measured
from tests.support.orders import Orders
from tests.support.sight import Sight, look
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection
    from uuid import UUID

    from breakbulk import RunHandle
    from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey
    from tests.support.fault import Fault
    from tests.support.fleet import Fleet
    from tests.support.proxy import Proxy
    from tests.support.relay import Relay
    from tests.support.stage import Stage

#: A busy machine may take so many seconds longer than the nominal time.
SLACK = 30.0
#: Bouts until one fault struck in the window.
TRIES = 5
#: When a fault strikes, drawn from this range: what happens meanwhile has to fit in the window.
_MOMENTS = (0.12, 0.75)
#: Transactions that are open for longer than a look around takes.
_OPEN = """
    SELECT pid, application_name, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start < clock_timestamp() - interval '1 s'
"""


class Arena:
    """Where faults strike.

    Args:
        dice: all that is left to chance comes from here.
        rows: of the table; every run works on all of them.
        seconds: a chunk takes that long at most.
        say: told in a line what happened.
        postgres: a server that faults may break; ``valkey`` likewise.
        proxy: the workers' way to the database, if faults may break it.
        relay: the messages' way to the workers, likewise.
    """

    def __init__(
        self,
        stage: Stage,
        fleet: Fleet,
        dice: random.Random,
        *,
        rows: int,
        seconds: float,
        say: Callable[[str], None],
        postgres: EmbeddedPostgres | None = None,
        valkey: EmbeddedValkey | None = None,
        proxy: Proxy | None = None,
        relay: Relay | None = None,
    ) -> None:
        self.stage = stage
        self.fleet = fleet
        self.dice = dice
        self.rows = rows
        self.seconds = seconds
        self.postgres = postgres
        self.valkey = valkey
        self.proxy = proxy
        self.relay = relay
        self.runs: list[RunHandle] = []
        #: All is well so far, so its workers can be expected to go home in order.
        self.sound = False
        self.say = say
        #: Called again and again while something is waited for: who minds the workers meanwhile.
        self.meanwhile: Callable[[], None] = lambda: None
        #: One fault at a time, so that it can be told what it does to the workers.
        self.alone = True
        self._complaints: set[str] = set()
        directory = Path(stage.directory) / "orders"
        directory.mkdir()
        self.orders = Orders(directory)

    @property
    def lease(self) -> float:
        """Seconds of a worker's lease."""
        return self.stage.bulk.runtime.settings.lease_seconds

    def suffer(self, fault: Fault) -> Bout:
        """Let a fault strike a run in the middle of its work; the run has ended well since.

        Raises:
            AssertionError: it has not, or the work went on too late.
        """
        assert fault.breaks <= self._own, f"what it breaks must be the arena's: {fault.breaks}"
        for _ in range(TRIES):
            bout = self._bout(fault)
            if bout is not None:
                nominal = fault.nominal(self.lease)
                assert bout.recovery <= nominal + SLACK, (
                    f"{bout}; nominal: within {nominal:g} s, on a busy machine {SLACK:g} s more"
                )
                return bout
        raise AssertionError(f"{fault.name} never struck in the window in {TRIES} bouts")

    def expect(self, fault: Fault) -> None:
        """From now on the workers' logs may hold what they hold because of a fault."""
        self._complaints.update(fault.complaints)

    def submit(self, **parameters: Any) -> RunHandle:
        """Submit a run that takes its time and obeys orders."""
        self.orders.calm_down()
        job = self.stage.application.haul(
            seconds=self.seconds, orders=str(self.orders.directory), **parameters
        )
        run = self.stage.bulk.submit(job)
        self.runs.append(run)
        return run

    def look(self, run: RunHandle, *, at: datetime | None = None) -> Sight:
        """What the ledger shows of a run now, or showed then."""
        with self.stage.engine.connect() as connection:
            schema = self.stage.bulk.runtime.database.schema
            return look(connection, schema, run, self.rows, at=at)

    def until(self, condition: Callable[[], object], *, message: str) -> None:
        """Wait for something, with the workers minded meanwhile."""

        def there() -> bool:
            self.meanwhile()
            return bool(condition())

        wait_for(there, message=message)

    def until_share(self, run: RunHandle, share: float) -> Sight:
        """Wait until so much of a run is done, from 0 to 1, with something in flight, or all."""

        def there() -> Sight | None:
            self.meanwhile()
            sight = self.look(run)
            found = sight.share >= share and (sight.in_flight or sight.share == 1)
            return sight if found else None

        sight = wait_for(there, timeout=120, message=f"{share:.0%} of run {run.id} to be done")
        assert sight is not None
        return sight

    def see_through(self, run: RunHandle) -> None:
        """Let a run come to its end soon, and judge it."""
        self.orders.hurry()
        self.stage.until_succeeded(run)
        self.judge(run)

    def order(self, deed: str, **details: Any) -> int:
        """Have whatever chunk comes next do a deed; the process that does it."""
        self.orders.give(deed, **details)

        def taken() -> int | None:
            self.meanwhile()
            return self.orders.taken(deed)

        return wait_for(taken, message=f"a chunk to take the order to {deed}") or 0

    def judge(self, *runs: RunHandle, version: int | None = None) -> None:
        """Every row done once by each run, runs called back once, and nothing of them left over.

        Args:
            runs: to be looked at; all, if none are named.
            version: how often each row is to be done, if not once by each run that there was.
        """
        self.sound = False
        self.stage.judge(
            *(runs or self.runs),
            rows=self.rows,
            version=len(self.runs) if version is None else version,
            complaints=sorted(self._complaints),
        )
        wait_for(lambda: not self.open_transactions(), message="all transactions to end")
        self.sound = True

    def leader(self) -> int:
        """The main process of the worker whose steward leads, or led last."""
        schema = self.stage.bulk.runtime.database.schema
        workers, leader = schema.workers, schema.leader
        query = select(workers.c.pid).join(leader, leader.c.worker_id == workers.c.id)

        def found() -> int | None:
            with self.stage.engine.connect() as connection:
                return connection.execute(query).scalar_one_or_none()

        return wait_for(found, message="somebody to lead") or 0

    def lanes_of(self, worker: int) -> set[UUID]:
        """The tokens of a worker's lanes, by its main process."""
        schema = self.stage.bulk.runtime.database.schema
        workers, lanes = schema.workers, schema.lanes
        query = select(lanes.c.token).join(workers, workers.c.id == lanes.c.worker_id)
        with self.stage.engine.connect() as connection:
            return set(connection.execute(query.where(workers.c.pid == worker)).scalars())

    def until_gone(self, pids: Collection[int]) -> None:
        """Wait until no lane of these processes is on record any more."""
        lanes = self.stage.bulk.runtime.database.schema.lanes
        query = select(lanes.c.pid).where(lanes.c.pid.in_(pids))

        def gone() -> bool:
            self.meanwhile()
            with self.stage.engine.connect() as connection:
                return connection.execute(query).first() is None

        wait_for(gone, message=f"the lanes of {sorted(pids)} to be gone")

    def open_transactions(self) -> list[str]:
        """Transactions of this database that do not end."""
        with self.stage.engine.connect() as connection:
            return [str(row) for row in connection.execute(text(_OPEN))]

    def ended(self, run: RunHandle) -> dict[tuple[int, str], Any]:
        """The rows of a run's chunks that have ended, by number and path."""
        chunks = self.stage.bulk.runtime.database.schema.chunks
        query = select(chunks).where(chunks.c.run_id == run.id, chunks.c.seconds.is_not(None))
        with self.stage.engine.connect() as connection:
            return {(row.number, row.path): row for row in connection.execute(query)}

    def close(self) -> None:
        """Send the workers home; nothing may be left of them, nor of what they did."""
        self.fleet.go_home()
        left = self.stage.bulk.workers()
        assert not left, left

    @property
    def _own(self) -> set[str]:
        parts = {
            "postgres": self.postgres,
            "valkey": self.valkey,
            "network": self.proxy,
            "messages": self.relay,
        }
        return {name for name, part in parts.items() if part is not None}

    def _bout(self, fault: Fault) -> Bout | None:
        """A run under a fault; None if it did not strike in the window."""
        self.expect(fault)
        self.sound = False
        run = self.submit()
        before = self.until_share(run, self.dice.uniform(*_MOMENTS))
        if not before.in_window:
            self._missed(fault, run, f"{before}")
            return None
        began = time.monotonic()
        deed = fault.deed(self, before)
        pids = next(deed)
        took = timedelta(seconds=time.monotonic() - began)
        after = self._look_if_possible(run)
        assert next(deed, None) is None, f"{fault.name} strikes more than once"
        healed = self.look(run)
        if after is None:
            after = self.look(run, at=before.at + took)
        self.see_through(run)
        if not after.in_window:
            self._missed(fault, run, f"{before}, right after {after}")
            return None
        bout = measured(fault, run, (before, after, healed), set(pids), self.ended(run))
        self.say(str(bout))
        return bout

    def _missed(self, fault: Fault, run: RunHandle, sights: str) -> None:
        self.see_through(run)
        self.say(f"{fault.name}: not in the window ({sights}), so again")

    def _look_if_possible(self, run: RunHandle) -> Sight | None:
        try:
            return self.look(run)
        except DBAPIError:
            return None
