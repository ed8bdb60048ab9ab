"""The housekeeper inside each worker: rescues, wakes, folds, and brings stopped runs to rest.

Every steward looks after its own worker's processes. One of them leads and looks after the rest:
dead workers, runs that wait for something, lanes that are missing. It promises nothing that a
message would be needed for: messages only make things faster.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from breakbulk.domain.chunk import RunId
from breakbulk.domain.failure import Failure
from breakbulk.domain.status import WORKABLE, RunStatus
from breakbulk.ledger.faults import is_in_the_way
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.workers import Worker
from breakbulk.runner.awaiting import Forgotten
from breakbulk.runner.circulation import MESSAGE_LIFE
from breakbulk.runner.earlyend import end_lost
from breakbulk.runner.easing import is_eased
from breakbulk.runner.finish import settle
from breakbulk.runner.liveness import liveness
from breakbulk.runner.rescue import rescue
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.steward")

_ASK_TO_LEAD = 1.0
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 15.0
_TIDY_EVERY = 10.0
_LOOK_ALONE = 5.0


@dataclass(slots=True)
class _Nudged:
    """When a run's lanes were last asked for, and how long to wait before asking again."""

    at: float
    wait: float
    present: int


class Steward:
    """The steward of one worker. Not a thread: somebody calls :meth:`tick`.

    Args:
        describe: the worker as it is now.
        alive: whether a lane of this worker still works.
        overdue: lanes of this worker that have been at their chunk for too long, also those that
            are ended for it already.
        seconds_of: how long a lane has been at its chunk, as far as that is known.
        end: ends the process of such a lane, where it is one of its own.
        send: sends "come and work" to a queue that many times, good until then; False when it
            could not.
        free: whether the worker has a slot in which nothing is at work.
        work_without_broker: start a lane for a queue in a process of its own.
    """

    def __init__(
        self,
        runtime: Runtime,
        describe: Callable[[], Worker],
        *,
        alive: Callable[[Lane], bool],
        overdue: Callable[[], set[UUID]] = set,
        seconds_of: Callable[[UUID], float | None] = lambda _lane: None,
        end: Callable[[Lane], None] = lambda _lane: None,
        send: Callable[[str, int, datetime], bool],
        free: Callable[[], bool],
        work_without_broker: Callable[[str], None],
    ) -> None:
        self._runtime = runtime
        self._describe = describe
        self._alive = alive
        self._overdue = overdue
        self._seconds_of = seconds_of
        self._end = end
        self._send = send
        self._free = free
        self._work_without_broker = work_without_broker
        self._liveness = liveness(runtime)
        self._renewed_at = self._asked_at = float("-inf")
        self._tidied_at = time.monotonic()
        self._leads = False
        self._nudged: dict[int, _Nudged] = {}
        self._alone_since: dict[int, float] = {}
        self._looked_at = float("-inf")
        self._told: Worker | None = None
        self._forgotten = Forgotten(runtime)
        self._throttles = False

    @property
    def leads(self) -> bool:
        """Whether it is the one that leads, as far as it knows."""
        return self._leads

    @property
    def throttles(self) -> bool:
        """Whether it leads and somebody has to look at what a run holds back on, or who waits."""
        return self._leads and self._throttles

    def tick(self, connection: Connection) -> None:
        """Look around once. Errors of the database are the caller's to catch."""
        worker = self._describe()
        self._renew(connection, worker)
        ledger = self._runtime.ledger
        with self._runtime.database.reading(connection):
            signs = ledger.signs.read(connection, worker.id)
            lanes = ledger.lanes.of_worker(connection, worker.id) if signs.lanes else []
            forced = ledger.lanes.forced(connection, worker.id) if signs.forced else set()
        # Whoever has done something may have given himself more to do.
        busy = self._rescue_own(connection, worker, lanes, forced)
        if self._leads:
            if busy or signs.lost:
                self._rescue_others(connection, worker)
                busy = True
            if busy or signs.active:
                self._move_on(
                    connection, resting=busy or signs.resting, calling=busy or signs.calling
                )
                busy = busy or signs.resting or signs.calling
            else:
                self._throttles = False
            if busy or signs.loading:
                end_lost(self._runtime, connection, worker.id)
            self._tidy(connection)
            if busy or signs.wanting:
                self._wake(connection)
            else:
                # Each run has a lane, and no slot is free: nobody waits to be asked for again.
                self._nudged.clear()
        self._work_alone(connection, worker)

    def leave(self, connection: Connection) -> None:
        """Sign the worker off. Lanes it may have left behind are rescued by the others."""
        self._liveness.leave(connection, self._describe())

    def _renew(self, connection: Connection, worker: Worker) -> None:
        now = time.monotonic()
        due = now - self._renewed_at >= self._runtime.settings.lease_seconds / 3
        changed = worker != self._told
        # Whoever does not lead asks more often: without a leader nobody rescues the dead.
        asks = not self._leads and not worker.draining and now - self._asked_at >= _ASK_TO_LEAD
        if not due and not changed and not asks:
            return
        if due or changed:
            registered = self._liveness.renew(connection, worker)
            if not registered and self._told is not None:
                log.warning(
                    "this worker was taken off the list: it was frozen or cut off for longer than"
                    " its lease of %g s; others have its chunks, and it begins anew",
                    self._runtime.settings.lease_seconds,
                )
            self._renewed_at, self._told = now, worker
        if worker.draining and self._leads:
            self._liveness.resign(connection, worker)
        leads = self._liveness.lead(connection, worker) if not worker.draining else False
        if leads and not self._leads:
            log.info("this worker's steward leads now")
        self._leads, self._asked_at = leads, now

    def _rescue_own(
        self, connection: Connection, worker: Worker, lanes: list[Lane], forced: set[UUID]
    ) -> bool:
        """Give back what this worker's lanes cannot do any more; whether there was any such."""
        overdue = self._overdue() if lanes else set()
        rescued = []
        for lane in lanes:
            failure: Failure | None = None
            # Before its process is ended, and another one has its place.
            seconds = self._seconds_of(lane.token)
            alive = self._alive(lane)
            # Asked after that: who was ended for being late was noted as late before he died.
            late = (not alive or lane.token in overdue) and lane.token in self._overdue()
            if not alive and not late:
                why = f"process {lane.pid} died"
                # During a shutdown nobody can tell who killed it; the shutdown was there first.
                failure = None if self._describe().draining else Failure.of_death(why)
            elif lane.token in forced:
                why = "the run is cancelled by force"
                self._end(lane)
            elif late:
                failure = self._timeout(connection, lane)
                why = f"what it was at {failure.message}"
                self._end(lane)
            else:
                continue
            if _rescued(self._runtime, connection, lane, why=why, failure=failure, seconds=seconds):
                rescued.append(lane)
        if rescued and not worker.draining:
            self._replace(connection, rescued)
        return bool(rescued)

    def _timeout(self, connection: Connection, lane: Lane) -> Failure:
        with self._runtime.database.reading(connection):
            run = self._runtime.ledger.runs.get(connection, lane.run_id)
        return Failure.of_timeout(run.policy.chunk_timeout)

    def _replace(self, connection: Connection, rescued: list[Lane]) -> None:
        """Ask for others in the place of lanes that died: the leader may look later only."""
        ledger = self._runtime.ledger
        with self._runtime.database.reading(connection):
            runs = [ledger.runs.get(connection, lane.run_id) for lane in rescued]
            late = ledger.lanes.now(connection) + timedelta(seconds=MESSAGE_LIFE)
        for run in runs:
            self._alone_since.pop(run.id, None)
            if run.status in WORKABLE or run.status is RunStatus.FINISHING:
                self._send(run.queue, 1, late)

    def _rescue_others(self, connection: Connection, worker: Worker) -> None:
        ledger, database = self._runtime.ledger, self._runtime.database
        for dead in self._liveness.dead(connection, worker):
            with database.reading(connection):
                lanes = ledger.lanes.of_worker(connection, dead.id)
            why = f"worker {dead.pid} on {dead.host} was not heard from"
            done = [_rescued(self._runtime, connection, lane, why=why) for lane in lanes]
            if all(done):
                with database.transaction(connection):
                    ledger.workers.remove(connection, dead.id)
                log.warning("%s; it is off the list", why)
        with database.reading(connection):
            orphans = ledger.lanes.orphans(connection)
        for lane in orphans:
            _rescued(self._runtime, connection, lane, why="its worker signed off")

    def _move_on(self, connection: Connection, *, resting: bool, calling: bool) -> None:
        """Runs that stand still though nothing is in their way any more.

        Args:
            resting: one may be to be brought to rest.
            calling: one may have lost whoever calls back.
        """
        ledger, database = self._runtime.ledger, self._runtime.database
        with database.reading(connection):
            at_rest = ledger.lanes.at_rest(connection) if resting else []
            orphaned = ledger.finishers.orphaned(connection) if calling else []
            active = ledger.runs.active(connection)
        waiting = [run for run in active if run.waits_for is not None]
        self._throttles = any(run.throttle or is_eased(self._runtime, run) for run in active)
        for run_id, _status in at_rest:
            with _unless_in_the_way(run_id):
                settle(self._runtime, connection, run_id)
        for run_id, finisher in orphaned:
            with _unless_in_the_way(run_id), database.transaction(connection):
                if ledger.finishers.free(connection, run_id, finisher, wait=0):
                    log.warning("run %s: its callback is taken up again", run_id)
        for run in waiting:
            if run.status is not RunStatus.HELD:
                continue
            try:
                with _unless_in_the_way(run.id), database.transaction(connection):
                    ledger.claims.lock(connection, run.id)
                    ledger.runs.take_slot(connection, run.id)
            except IntegrityError:
                # Another run took the place between question and write; this one waits on.
                continue

    def _tidy(self, connection: Connection) -> None:
        """What is done now and then: folding tallies, finding claims that nobody holds."""
        if time.monotonic() - self._tidied_at < _TIDY_EVERY:
            return
        self._tidied_at = time.monotonic()
        ledger, database = self._runtime.ledger, self._runtime.database
        with database.transaction(connection):
            ledger.folding.fold(connection, self._runtime.settings.tally_fold_seconds)
        with database.reading(connection):
            active = ledger.runs.active(connection)
        self._forgotten.look(connection, active)
        for run in active:
            with _unless_in_the_way(run.id), database.transaction(connection):
                ledger.claims.lock(connection, run.id)
                for claim in ledger.claims.orphaned(connection, run.id):
                    noun = run.nouns.chunk
                    log.warning("run %s: %s %s was held by no lane", run.id, noun, claim.ref)
                    ledger.claims.give_back(
                        connection, claim, wait=0, attempt_spent=False, lost=True
                    )

    def _wake(self, connection: Connection) -> None:
        """Send until running equals wanted, with back-off.

        Not for each run: what counts is how many slots are free. Lanes that are at work see for
        themselves, when their slice ends, who has no lane yet.
        """
        ledger = self._runtime.ledger
        with self._runtime.database.reading(connection):
            demands = ledger.lanes.demand(connection, ledger.workers.slots(connection))
            free = ledger.workers.free_slots(connection)
            clock = ledger.lanes.now(connection)
        wanted_now = {demand.run_id for demand in demands}
        self._nudged = {run: one for run, one in self._nudged.items() if run in wanted_now}
        now = time.monotonic()
        messages: dict[str, int] = {}
        for demand in demands:
            # A queue that nobody is known for counts as one slot.
            room = free.get((demand.queue, demand.job), 1)
            last = self._nudged.get(demand.run_id)
            if last is not None and demand.present == last.present and now - last.at < last.wait:
                continue
            if room <= 0:
                continue
            missing = demand.wanted - demand.present
            wait = _FIRST_WAIT
            if last is not None and demand.present <= last.present:
                wait = min(last.wait * 2, _LONGEST_WAIT)
            queue = demand.queue
            asked = messages.get(queue, 0)
            messages[queue] = max(asked, min(asked + missing, room))
            self._nudged[demand.run_id] = _Nudged(now, wait, demand.present)
        late = clock + timedelta(seconds=MESSAGE_LIFE)
        for queue, count in messages.items():
            self._send(queue, count + self._runtime.settings.surplus_messages, late)

    def _work_alone(self, connection: Connection, worker: Worker) -> None:
        """Work for runs to which no message has brought a lane for long.

        Every worker looks after what it consumes itself, whether the broker is away or only keeps
        the messages: a lane that is asked for and does not come is all that can be seen of either.
        """
        settings = self._runtime.settings
        now = time.monotonic()
        pause = min(_LOOK_ALONE, settings.broker_patience / 3)
        if worker.draining or now - self._looked_at < pause:
            return
        self._looked_at = now
        ledger = self._runtime.ledger
        with self._runtime.database.reading(connection):
            demands = ledger.lanes.demand(connection, ledger.workers.slots(connection))
        mine = [
            demand
            for demand in demands
            if not demand.present and demand.queue in worker.queues and demand.job in worker.jobs
        ]
        self._alone_since = {
            demand.run_id: self._alone_since.get(demand.run_id, now) for demand in mine
        }
        for demand in mine:
            waited = now - self._alone_since[demand.run_id]
            # A worker that is busy with other tasks is not without a broker.
            if waited >= settings.broker_patience and self._free():
                log.warning(
                    "run %s: no lane has come for %.0f s: working without the broker",
                    demand.run_id,
                    waited,
                )
                self._work_without_broker(demand.queue)


@contextmanager
def _unless_in_the_way(run_id: RunId) -> Iterator[None]:
    """Leave a run to the next look if somebody has locked what it takes: others need not wait."""
    try:
        yield
    except DBAPIError as error:
        _put_off(run_id, error)


def _rescued(runtime: Runtime, connection: Connection, lane: Lane, **how: Any) -> bool:
    """Rescue a lane; False when that has to wait."""
    try:
        return rescue(runtime, connection, lane, **how)
    except DBAPIError as error:
        _put_off(lane.run_id, error)
        return False


def _put_off(run_id: RunId, error: DBAPIError) -> None:
    if not is_in_the_way(error):
        raise error
    first_line = str(error).partition("\n")[0]
    log.info("run %s: somebody is in the way, so again later: %s", run_id, first_line)
