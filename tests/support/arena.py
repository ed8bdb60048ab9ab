"""An arena: a stage with workers on which faults strike in the middle of the work.

One *bout* is a run under one fault. The fault strikes at a moment that is drawn from the seed;
that at least one chunk was in flight then, and 10 to 90 % of the rows were done, is read off the
ledger before and right after. If not so, there is another bout.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from breakbulk import RunStatus
from breakbulk.domain.keys import decode_key
from tests.support.bout import Bout, measured
from tests.support.orders import Orders
from tests.support.roster import Roster
from tests.support.sight import Sight, look
from tests.support.waiting import SLACK, wait_for

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Iterable

    from breakbulk import RunHandle
    from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey
    from tests.support.fault import Fault
    from tests.support.fleet import Fleet
    from tests.support.proxy import Proxy
    from tests.support.relay import Relay
    from tests.support.stage import Stage

T = TypeVar("T")

#: Bouts until one fault struck in the window.
TRIES = 5
#: When a fault strikes, drawn from this range: what happens meanwhile has to fit in the window.
_MOMENTS = (0.12, 0.75)
#: Of so many rows: a longer run is longer for the work to outlast the fault, so it strikes early.
_USUAL = 1000


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
        #: The workers as the database has them.
        self.roster = Roster(stage.engine, stage.bulk.runtime.database.schema)
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
        #: Main processes of workers that a fault has struck and that are not put right yet.
        self.struck: set[int] = set()
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
            if len(self.fleet.able()) < self.fleet.size:
                # The last bout did not count, but it cost a worker.
                self.fleet.replenish()
            bout = self._bout(fault)
            if bout is not None:
                nominal = fault.nominal(self.lease)
                assert bout.recovery <= nominal + SLACK, (
                    f"{bout}; nominal: within {nominal:g} s, on a busy machine {SLACK:g} s more"
                )
                return bout
        raise AssertionError(f"{fault.name} never struck in the window in {TRIES} bouts")

    def expect(self, complaints: Iterable[str]) -> None:
        """From now on the workers' logs may hold this, though it reads like trouble."""
        self._complaints.update(complaints)

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

    def until(
        self, condition: Callable[[], T], *, timeout: float = 60.0, message: str = "the condition"
    ) -> T:
        """Wait for something, with the workers minded meanwhile; see :func:`wait_for`."""

        def there() -> T:
            self.meanwhile()
            return condition()

        return wait_for(there, timeout=timeout, message=message)

    def until_share(self, run: RunHandle, share: float) -> Sight:
        """Wait until so much of a run is done, from 0 to 1, and some in flight, or it is over."""

        def there() -> Sight | None:
            sight = self.look(run)
            found = sight.over or (sight.share >= share and sight.in_flight)
            return sight if found else None

        sight = self.until(there, timeout=120, message=f"{share:.0%} of run {run.id} to be done")
        assert sight is not None
        return sight

    def see_through(self, run: RunHandle) -> None:
        """Let a run come to its end soon, and judge it."""
        self.orders.hurry()
        poison = self.orders.poison()
        if poison:
            self._cure(run, poison)
        self._until_over(run)
        run.raise_for_status()
        self.judge(run)

    def _until_over(self, run: RunHandle) -> None:
        self.until(lambda: self.look(run).over, timeout=180, message=f"run {run.id} to end")

    def _cure(self, run: RunHandle, poison: dict[str, str]) -> None:
        """See that the bad rows of a run, and no others, are in quarantine; then mend them."""
        self._until_over(run)
        assert run.status() is RunStatus.PARTIAL
        found = {str(decode_key(row.key)[0]) for row in run.errors()}
        assert found == set(poison), f"in quarantine: {found}, bad: {poison}"
        once, bad = len(self.runs), len(poison)
        assert self.stage.versions() == {once - 1: bad, once: self.rows - bad}
        self.orders.put_poison({})
        run.retry()

    def order(self, deed: str, **details: Any) -> int:
        """Have whatever chunk comes next do a deed; the process that does it."""
        self.orders.give(deed, **details)
        message = f"a chunk to take the order to {deed}"
        return self.until(lambda: self.orders.taken(deed), message=message) or 0

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
            split=True,
            complaints=sorted(self._complaints),
        )
        wait_for(lambda: not self.roster.transactions(), message="all transactions to end")
        self.sound = True

    def until_gone(self, pids: Collection[int]) -> None:
        """Wait until no lane of these processes is on record any more."""
        message = f"the lanes of {sorted(pids)} to be gone"
        self.until(lambda: not self.roster.lanes_in(pids), message=message)

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
        self.expect(fault.complaints)
        self.sound = False
        run = self.submit()
        first, last = _MOMENTS
        last = first + (last - first) * min(1.0, _USUAL / self.rows)
        before = self.until_share(run, self.dice.uniform(first, last))
        if not before.in_window:
            self.see_through(run)
            return self._missed(fault, f"{before}")
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
            return self._missed(fault, f"{before}, right after {after}")
        bout = measured(fault, run, (before, after, healed), set(pids), self.ended(run))
        self.say(str(bout))
        return bout

    def _missed(self, fault: Fault, sights: str) -> Bout | None:
        self.say(f"{fault.name}: not in the window ({sights}), so again")
        return None

    def _look_if_possible(self, run: RunHandle) -> Sight | None:
        try:
            return self.look(run)
        except DBAPIError:
            return None
