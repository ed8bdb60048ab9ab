"""A lane from message to message: find a run that needs one, stay for a slice, leave in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from breakbulk.domain.chunk import Claim
from breakbulk.domain.run import Run
from breakbulk.domain.status import STOPPING, WORKABLE, RunStatus
from breakbulk.errors import LedgerUnreachable, SchemaError
from breakbulk.ledger.faults import Fault, fault_of, is_in_the_way, translated
from breakbulk.ledger.lanes import Demand, Lane
from breakbulk.runner.attempt import settled
from breakbulk.runner.elsewhere import is_left_to_others
from breakbulk.runner.finish import call_back, close_run, settle
from breakbulk.runner.hand import ConnectionGone, Slice
from breakbulk.runner.lane import LaneWork
from breakbulk.runner.patience import Backoff
from breakbulk.runner.rescue import rescue
from breakbulk.runner.runtime import Process, Runtime, live_lanes
from breakbulk.runner.sentry import attach
from breakbulk.runner.whereabouts import in_lane

log = logging.getLogger("breakbulk.lane")

_SIGN_OFF_WAIT = 1.0
_RECONNECT_WAITS = (0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0)


def work(
    runtime: Runtime,
    process: Process,
    queue: str,
    seconds: float,
    *,
    good_until: datetime | None = None,
    tell: Callable[[str], None] = lambda _did: None,
) -> bool:
    """Work for whatever run of a queue needs a lane, for a slice of time.

    Args:
        seconds: the length of the slice.
        good_until: after that it works only if no other lane of the worker has ended since the
            message was sent, and only for a run that has no lane at all.
        tell: told what was done of each run, for people.

    Returns:
        Whether another lane should follow this one.
    """
    began = time.monotonic()
    wanted = False
    while not process.stopping() and time.monotonic() - began < seconds:
        try:
            with translated():
                entered = _enter(runtime, process, queue, began + seconds, good_until)
        except (LedgerUnreachable, SchemaError) as error:
            log.warning("no lane: %s", error)
            return False
        except DBAPIError as error:
            if not is_in_the_way(error):
                raise
            # Nobody's fault: as long as a lane is missing, it is asked for.
            log.info("no lane: somebody is in the way: %s", _first_line(error))
            return wanted
        if entered is None:
            return wanted
        try:
            visit = _Visit(runtime, process, *entered)
            wanted = visit.make()
            tell(visit.did)
        finally:
            process.circulation.lane_ended()
        good_until = None
    return wanted


@contextmanager
def connections(runtime: Runtime, lane: Lane) -> Iterator[tuple[Connection, Connection]]:
    """A connection to the ledger and one to the rows: the same one, unless they are apart."""
    ledger, rows = runtime.database, runtime.data
    with ledger.connect() as connection, ledger.watched(connection, lane.label):
        if not runtime.at_least_once:
            yield connection, connection
            return
        with rows.connect() as data, rows.watched(data, lane.label):
            yield connection, data


@dataclass(slots=True)
class _Visit:
    """A lane's stay in a run, over as many connections as it takes."""

    runtime: Runtime
    process: Process
    lane: Lane
    run: Run
    piece: Slice
    did: str = ""

    def make(self) -> bool:
        """Work, call back if that is due, sign off; whether to come again."""
        attach()
        stay = LaneWork(self.runtime, self.lane, self.run, self.piece)
        try:
            with in_lane(self.run.id, self.run.job, self.lane.number):
                again = self._through_losses(stay)
            self.did = f"run {self.run.id} ({self.run.job}): {stay.done}"
        except BaseException:
            # A bug of ours or an exit at any bytecode: leave nothing behind if that can be helped.
            self._give_up(stay)
            raise
        finally:
            live_lanes.remove(self.lane.token)
        return again

    def _through_losses(self, stay: LaneWork) -> bool:
        waits, backoff = iter(_RECONNECT_WAITS), Backoff()
        doubtful: Claim | None = None
        lost = False
        while True:
            try:
                with connections(self.runtime, self.lane) as (connection, data):
                    if doubtful is not None:
                        self._settle_doubt(stay, connection, doubtful)
                        doubtful = None
                    if lost:
                        stay.forget_claims(connection)
                        waits = iter(_RECONNECT_WAITS)
                    if self.run.status is not RunStatus.FINISHING:
                        stay.stay(connection, data)
                    return self._leave(stay, connection, data)
            except ConnectionGone as gone:
                doubtful = gone.doubtful or doubtful
                cause: BaseException | None = gone.__cause__
            except SQLAlchemyError as error:
                if is_in_the_way(error) and not self.process.stopping():
                    # A statement of ours: what it was part of was rolled back, and is done again.
                    told = "run %s: somebody is in the way, so again in a moment: %s"
                    log.info(told, self.run.id, _first_line(error))
                    lost = True
                    backoff.wait()
                    continue
                if fault_of(error) is not Fault.CONNECTION:
                    raise
                cause = error
            lost = True
            if self.process.stopping():
                told = "run %s: connection lost in a shutdown, so this lane ends here: %s"
                log.warning(told, self.run.id, _first_line(cause))
                _abandon(self.runtime, self.lane)
                return False
            # For as long as it takes: only this process can say that this lane is over.
            wait = next(waits, _RECONNECT_WAITS[-1])
            log.warning(
                "run %s: connection lost, again in %s s: %s", self.run.id, wait, _first_line(cause)
            )
            time.sleep(wait)

    def _settle_doubt(self, stay: LaneWork, connection: Connection, claim: Claim) -> None:
        done = settled(self.runtime, connection, claim)
        if done:
            stay.committed_after_all(claim)
        outcome = "had happened" if done else "had not happened"
        noun = self.run.nouns.chunk
        log.warning("run %s: the COMMIT of %s %s %s", self.run.id, noun, claim.ref, outcome)

    def _leave(self, stay: LaneWork, connection: Connection, data: Connection) -> bool:
        """Call back if all is done, sign off, settle a stopped run; whether to come again."""
        runtime, run_id = self.runtime, self.run.id
        ended = False
        asks = stay.idle or self.run.status is RunStatus.FINISHING
        if asks and close_run(runtime, connection, run_id, tell=stay.tell):
            ended = call_back(runtime, connection, data, self.process, self.lane)
        self._sign_off(stay, connection)
        with runtime.database.reading(connection):
            status = runtime.ledger.runs.status(connection, run_id)
        if status in STOPPING:
            settle(runtime, connection, run_id)
        return not ended and not stay.idle and status in WORKABLE

    def _sign_off(self, stay: LaneWork, connection: Connection) -> None:
        """Leave, for as long as somebody is in the way: that is nobody's fault, and no error."""
        backoff = Backoff()
        while True:
            try:
                stay.sign_off(connection)
            except DBAPIError as error:
                if not is_in_the_way(error) or self.process.stopping():
                    raise
                backoff.wait()
            else:
                return

    def _give_up(self, stay: LaneWork) -> None:
        try:
            with self.runtime.database.connect() as connection:
                stay.sign_off(connection)
        except Exception as error:  # noqa: BLE001  (whatever it is, somebody has to sign off)
            log.warning("run %s: a lane could not sign off: %s", self.run.id, error)
            _abandon(self.runtime, self.lane)


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]


def _abandon(runtime: Runtime, lane: Lane) -> None:
    """Sign a lane off as soon as the database lets us.

    Its process lives, so its steward cannot know that it is over; only this process can say so.
    If the process dies first, the steward does it.
    """
    name = f"breakbulk-sign-off-{lane.token}"
    threading.Thread(target=_sign_off, args=(runtime, lane), name=name, daemon=True).start()


def _sign_off(runtime: Runtime, lane: Lane) -> None:
    live_lanes.remove(lane.token)
    done = False
    while not done:
        try:
            with runtime.database.connect() as connection:
                why = "it could not sign off"
                done = rescue(runtime, connection, lane, why=why)
        except Exception as error:  # noqa: BLE001  (again, until it is done)
            log.debug("run %s: lane %d is still to sign off: %s", lane.run_id, lane.number, error)
        if not done:
            time.sleep(_SIGN_OFF_WAIT)


def _enter(
    runtime: Runtime, process: Process, queue: str, until: float, good_until: datetime | None
) -> tuple[Lane, Run, Slice] | None:
    """Take a place in the run whose turn it is; None if none needs one."""
    ledger, database = runtime.ledger, runtime.database
    with database.connect() as connection:
        with database.reading(connection):
            if not ledger.workers.registered(connection, process.worker_id):
                # Its steward has not come up yet, or it was declared dead: it asks again.
                return None
            slots = ledger.workers.slots(connection)
            names = list(runtime.jobs.all())
            demands = ledger.lanes.demand(connection, slots, queue=queue, jobs=names)
            late = 0.0
            if good_until is not None:
                late = (ledger.lanes.now(connection) - good_until).total_seconds()
        if process.circulation.has_overtaken(late):
            return None
        if late > 0:
            demands = [demand for demand in demands if not demand.present]
        demands = [one for one in demands if not is_left_to_others(runtime, one.run_id)]
        for demand in demands:
            place = _take_place(runtime, connection, process, demand)
            if place is None:
                continue
            lane, run = place
            share = max(1.0, runtime.settings.slice_seconds / len(demands))
            return lane, run, Slice(min(until, time.monotonic() + share), process)
    return None


def _take_place(
    runtime: Runtime, connection: Connection, process: Process, demand: Demand
) -> tuple[Lane, Run] | None:
    ledger, database = runtime.ledger, runtime.database
    with database.reading(connection):
        taken = ledger.lanes.taken(connection, demand.run_id)
    for number in sorted(set(range(demand.wanted)) - taken):
        lane = Lane(demand.run_id, number, uuid4(), process.worker_id, process.pid, process.started)
        # Known here before the ledger knows, or a steward in this process would think it dead.
        live_lanes.add(lane.token)
        try:
            with database.transaction(connection, durable=False):
                if ledger.lanes.enter(connection, lane):
                    ledger.runs.served(connection, lane.run_id)
                    run = ledger.runs.get(connection, lane.run_id)
                else:
                    run = None
        except BaseException:
            # Nobody knows whether that was committed.
            _abandon(runtime, lane)
            raise
        if run is not None:
            return lane, run
        live_lanes.remove(lane.token)
    return None
