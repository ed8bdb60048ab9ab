"""Looking after runs that hold back on something, and after those that wait for the application."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection

from breakbulk.domain.throttle import Throttle
from breakbulk.domain.throttling import (
    Gauge,
    Reading,
    ThrottleState,
    decide,
    lanes_under,
)
from breakbulk.domain.timewindow import TimeWindow
from breakbulk.ledger.blocking import LockWait, lock_waits
from breakbulk.ledger.gauges import Gauges
from breakbulk.ledger.throttles import Throttled
from breakbulk.runner.easing import ease, is_eased
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.steward")


class Throttling:
    """Looks at the gauges of all runs that go on, and at who waits for their chunks.

    Not a thread: somebody calls :meth:`look`.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def look(self, connection: Connection) -> None:
        """Look once, and write down what has changed.

        Args:
            connection: idle, to the ledger.
        """
        ledger, database = self._runtime.ledger, self._runtime.database
        with database.reading(connection):
            found = ledger.throttles.all(connection)
            slots = ledger.workers.slots(connection)
            now = ledger.lanes.now(connection)
            active = ledger.runs.active(connection)
        eased = [run for run in active if is_eased(self._runtime, run)]
        # All is measured before anything is written: who waits for his turn to write on SQLite
        # lets others fork, and nothing may be open then.
        measured: list[list[Reading]] = []
        waits: list[LockWait] = []
        if found or eased:
            with self._rows(connection) as rows:
                gauges = Gauges(self._runtime.data, rows)
                measured = [list(read(gauges, seen.throttle, now)) for seen in found]
                if eased:
                    waits = self._waits(rows)
        ease(self._runtime, connection, waits, eased)
        for seen, readings in zip(found, measured, strict=True):
            most = max(1, slots.get((seen.queue, seen.job), 1))
            self._conclude(connection, seen, readings, min(most, seen.max_lanes or most))
        with database.transaction(connection):
            ledger.throttles.tidy(connection)

    @contextmanager
    def _rows(self, connection: Connection) -> Iterator[Connection]:
        """A connection to where the rows are: what is measured there counts."""
        if not self._runtime.at_least_once:
            yield connection
            return
        data = self._runtime.data
        # Two of SQLite: whoever holds forks off does so once.
        once = data.is_postgresql or self._runtime.database.is_postgresql
        with data.connect_apart() if once else data.connect() as rows:
            yield rows

    def _waits(self, rows: Connection) -> list[LockWait]:
        """Lanes that wait for the application at their chunk, or that it waits for."""
        with self._runtime.data.reading(rows):
            return lock_waits(rows, named=not self._runtime.at_least_once)

    def _conclude(
        self, connection: Connection, seen: Throttled, readings: list[Reading], most: int
    ) -> None:
        ledger, database = self._runtime.ledger, self._runtime.database
        throttle = seen.throttle
        with database.reading(connection):
            now = ledger.lanes.now(connection)
            pace = ledger.throttles.pace(connection, seen.run_id)
        state = decide(seen.state, readings, now, lanes=seen.lanes, most=most)
        throttled_to = state.ceiling
        if state.holds:
            throttled_to = 0
        elif throttle.max_rows_per_second is not None:
            capped = lanes_under(throttle.max_rows_per_second, *pace)
            throttled_to = min(capped, state.ceiling or capped)
        if (state, throttled_to) == (seen.state, seen.throttled_to):
            return
        with database.transaction(connection):
            if not ledger.throttles.save(connection, seen, state, throttled_to):
                return
            if state.holds != seen.state.holds:
                verb, detail = _told(seen.state, state, now)
                ledger.runs.note(connection, seen.run_id, actor="steward", verb=verb, detail=detail)
                log.info("run %s %s: %s", seen.run_id, verb, detail)


def read(gauges: Gauges, throttle: Throttle, now: datetime) -> Iterator[Reading]:
    """Look at all that a throttle names, the cheapest first."""
    if throttle.only is not None:
        yield hours(throttle.only, now)
    if throttle.max_replica_lag is not None:
        yield gauges.replica_lag(throttle.max_replica_lag)
    if throttle.max_lock_waits is not None:
        yield gauges.lock_waits(throttle.max_lock_waits)
    if throttle.throttle_on is not None:
        yield gauges.check(throttle.throttle_on)


def hours(only: str, now: datetime) -> Reading:
    """Whether it is time to work."""
    try:
        window = TimeWindow.parsed(only)
    except ValueError as error:
        # It was right where it was submitted: here may be no database of zones.
        return Reading.failed(Gauge.WINDOW, f"{only!r} is not {error}")
    is_open = window.is_open(now)
    at = None if is_open else window.opens_at(now)
    opens = "" if at is None else f", which begins at {at:%Y-%m-%d %H:%M} UTC"
    return Reading(Gauge.WINDOW, f"it works only {only.strip()}{opens}", not is_open, is_open)


def _told(before: ThrottleState, after: ThrottleState, now: datetime) -> tuple[str, str]:
    """What the run's activity says of a change."""
    if after.holds:
        assert after.reading is not None
        return "throttled", after.reading.says
    assert before.since is not None
    seconds = round((now - before.since).total_seconds())
    few = "" if after.ceiling is None else f", with at most {_lanes(after.ceiling)} at first"
    return "unthrottled", f"after {seconds} s{few}"


def _lanes(count: int) -> str:
    return "1 lane" if count == 1 else f"{count} lanes"
