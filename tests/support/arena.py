"""An arena: a stage with workers on which faults strike in the middle of the work.

One *bout* is a run under one fault. The fault strikes at a moment that is drawn from the seed;
that at least one chunk was in flight then, and 10 to 90 % of the rows were done, is read off the
ledger before and right after. If not so, there is another bout.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.support.orders import Orders
from tests.support.sight import Held, Sight, look
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Iterable
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


@dataclass(frozen=True, kw_only=True)
class Bout:
    """How a run came through a fault. Times are seconds from the stroke, by the ledger.

    Attributes:
        before: the ledger right before the stroke; ``after``: right after it.
        healed: the ledger when what does not mend by itself had been put right.
        struck: what was in flight in the lanes that were struck.
        resumed: until the next commit of anybody.
        retaken: until the last struck chunk was begun again (0: it never had to be); None if no
            lane was struck.
        handed_on: until the first chunk was begun that struck lanes held beside; None if there was
            none.
    """

    fault: Fault
    run: RunHandle
    before: Sight
    after: Sight
    healed: Sight
    struck: tuple[Held, ...]
    resumed: float
    retaken: float | None
    handed_on: float | None

    @property
    def recovery(self) -> float:
        """Until the work went on: what was struck, or else anything."""
        return self.resumed if self.retaken is None else self.retaken

    def __str__(self) -> str:
        return (
            f"{self.fault.name}: struck at {self.before} ({self.after.share:.0%} right after);"
            f" recovered after {self.recovery:.2f} s, next commit after {self.resumed:.2f} s"
        )


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
        self._say = say
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

    def until_share(self, run: RunHandle, share: float) -> Sight:
        """Wait until so much of a run is done, from 0 to 1, and something is in flight."""

        def there() -> Sight | None:
            sight = self.look(run)
            return sight if sight.share >= share and sight.in_flight else None

        sight = wait_for(there, timeout=120, message=f"{share:.0%} of run {run.id} to be done")
        assert sight is not None
        return sight

    def judge(self) -> None:
        """Every row done once by each run, called back once, and nothing of them left over."""
        self.sound = False
        self.stage.judge(*self.runs, rows=self.rows, complaints=sorted(self._complaints))
        wait_for(lambda: not self.open_transactions(), message="all transactions to end")
        self.sound = True

    def leader(self) -> int:
        """The main process of the worker whose steward leads."""
        schema = self.stage.bulk.runtime.database.schema
        workers, leader = schema.workers, schema.leader
        query = select(workers.c.pid).join(leader, leader.c.worker_id == workers.c.id)
        with self.stage.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

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
            with self.stage.engine.connect() as connection:
                return connection.execute(query).first() is None

        wait_for(gone, message=f"the lanes of {sorted(pids)} to be gone")

    def open_transactions(self) -> list[str]:
        """Transactions of this database that do not end."""
        with self.stage.engine.connect() as connection:
            return [str(row) for row in connection.execute(text(_OPEN))]

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
        self._complaints.update(fault.complaints)
        self.sound = False
        run = self.submit()
        before = self.until_share(run, self.dice.uniform(*_MOMENTS))
        began = time.monotonic()
        deed = fault.deed(self, before)
        pids = next(deed)
        took = timedelta(seconds=time.monotonic() - began)
        after = self._look_if_possible(run)
        assert next(deed, None) is None, f"{fault.name} strikes more than once"
        healed = self.look(run)
        if after is None:
            after = self.look(run, at=before.at + took)
        self.orders.hurry()
        self.stage.until_succeeded(run)
        self.judge()
        if not (before.in_window and after.in_window):
            self._say(f"{fault.name}: not in the window ({before}; {after.share:.0%} right after)")
            return None
        bout = self._measured(fault, run, (before, after, healed), set(pids))
        self._say(str(bout))
        return bout

    def _look_if_possible(self, run: RunHandle) -> Sight | None:
        try:
            return self.look(run)
        except DBAPIError:
            return None

    def _measured(
        self, fault: Fault, run: RunHandle, sights: tuple[Sight, Sight, Sight], pids: set[int]
    ) -> Bout:
        before, after, healed = sights
        struck = tuple(one for one in after.in_flight if one.pid in pids)
        beside = [one for one in after.held if one.pid in pids and one not in struck]
        ended = self._ended(run)

        def begun(held: Iterable[Held]) -> list[float]:
            rows = [ended[one.number, one.path] for one in held if (one.number, one.path) in ended]
            moments = [row.ended_at - timedelta(seconds=row.seconds) for row in rows]
            return [max(0.0, (moment - before.at).total_seconds()) for moment in moments]

        resumed = min(row.ended_at for row in ended.values() if row.ended_at > after.at)
        return Bout(
            fault=fault,
            run=run,
            before=before,
            after=after,
            healed=healed,
            struck=struck,
            resumed=(resumed - before.at).total_seconds(),
            retaken=max(begun(struck), default=None),
            handed_on=min(begun(beside), default=None),
        )

    def _ended(self, run: RunHandle) -> dict[tuple[int, str], Any]:
        chunks = self.stage.bulk.runtime.database.schema.chunks
        query = select(chunks).where(chunks.c.run_id == run.id, chunks.c.seconds.is_not(None))
        with self.stage.engine.connect() as connection:
            return {(row.number, row.path): row for row in connection.execute(query)}
