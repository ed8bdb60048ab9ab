"""Breakbulk inside a Celery worker: one task that works, one that submits, and the steward.

Nothing else has to be deployed. The steward is a bootstep of the worker: a thread in its main
process with a connection of its own. Lanes learn that their worker shuts down through a byte in
memory that was shared before the fork, because Celery's main process does not tell its children.
"""

from __future__ import annotations

import atexit
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from billiard.process import current_process
from celery import Celery, bootsteps, signals
from celery.exceptions import SoftTimeLimitExceeded
from celery.worker import state

import breakbulk
from breakbulk.errors import BreakbulkError, UnsupportedPool
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.workers import Worker
from breakbulk.nodes import chosen_hooks
from breakbulk.nodes.heartbeat import HEARTBEAT_VARIABLE, Heartbeat
from breakbulk.nodes.hook import HOOKS_VARIABLE
from breakbulk.nodes.watching import NodeWatch
from breakbulk.runner.celery_settings import told
from breakbulk.runner.circulation import Circulation
from breakbulk.runner.deadlines import Deadlines
from breakbulk.runner.grace import GRACE, GRACE_VARIABLE
from breakbulk.runner.outbox_thread import OutboxThread
from breakbulk.runner.runtime import Process, Runtime, is_alive, live_lanes
from breakbulk.runner.sending import SendLink
from breakbulk.runner.sentry import attach
from breakbulk.runner.steward import Steward
from breakbulk.runner.steward_thread import StewardThread
from breakbulk.runner.throttling_thread import ThrottlingThread
from breakbulk.runner.watch import Watch
from breakbulk.runner.whereabouts import add_to
from breakbulk.runner.work import work
from breakbulk.settings import LANE_TASK, SUBMIT_TASK

log = logging.getLogger("breakbulk.worker")

_WORKER_VARIABLE = "BREAKBULK_WORKER_ID"
_DEADLINES_VARIABLE = "BREAKBULK_DEADLINES"
#: A lane ends well before a time limit of the team would end it.
_PART_OF_TIME_LIMIT = 0.5
_GREEN_POOLS = ("gevent", "eventlet")
#: What ends a worker, or has it start anew.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def _pool_index() -> int | None:
    """This process's number in its pool, which no other living process of it has."""
    index = getattr(current_process(), "index", None)
    return index if isinstance(index, int) else None


# Time limits of this worker's pool, which its command line may have set; known before the fork.
_pool_limits: list[float] = []
# Until when each lane may be at its chunk, shared likewise.
_deadlines = Deadlines(place=_pool_index)
_circulation = Circulation()
# One byte shared by the worker's main process and its children: 1 when it shuts down.
_shared = mmap.mmap(-1, 1)


def stopping() -> bool:
    """Whether this process's worker shuts down."""
    return _shared[0] != 0


def _hear_of_shutdowns() -> None:
    """Know of a shutdown before Celery does anything about it.

    In a cold shutdown it ends the children first, in a soft one it lets them go on for a while
    first, and says so to nobody before that; of a restart it never tells.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # a worker inside another program, where signals are not ours
    main = os.getpid()
    for number in _ENDING:
        of_celery = signal.getsignal(number)
        if callable(of_celery) and of_celery.__module__ == "celery.apps.worker":
            signal.signal(number, partial(_hear, main, of_celery))


def _hear(main: int, of_celery: Callable[[int, Any], Any], number: int, frame: Any) -> None:
    if os.getpid() == main:
        _shared[0] = 1
    # In a cold shutdown of threads, or of the main process itself, Celery finds that it cannot end
    # them, in the middle of whatever is at work. It has made a note to end before, and so has the
    # lane, which does what it has in hand.
    with suppress(NotImplementedError):
        of_celery(number, frame)


def _leave(_why: str) -> None:
    """Shut this worker down warmly, as a SIGTERM would."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, partial) and handler.func is _hear:
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        # In another program, which a signal would end: no lane begins anything any more.
        _shared[0] = 1


def install(
    app: Celery,
    runtime: Runtime,
    *,
    send: Callable[[str, int, datetime | None], bool],
    send_link: SendLink,
    submit: Callable[[str, dict[str, Any], dict[str, Any]], int | None],
    target: object,
) -> None:
    """Register tasks and steward with the user's application.

    Args:
        send: asks a queue for that many lanes, good until some time.
        send_link: puts a linked signature on the broker, or raises.
        submit: called with a job's name, parameters and options by the submitting task.
        target: the object that a process of its own has to import to work without a broker.
    """

    # Not shared: another Celery application of this process must not get our tasks as its own.
    @app.task(
        name=LANE_TASK, bind=True, shared=False, ignore_result=True, max_retries=0, typing=False
    )
    def lane(self: Any, /, queue: str, good_until: str | None = None, **_later: Any) -> str:
        """Work for whatever run of the queue needs a lane."""
        seconds = slice_within(runtime.settings.slice_seconds, self)
        process = Process.current(
            worker_id(),
            stopping,
            (SoftTimeLimitExceeded,),
            self.request.hostname,
            _deadlines,
            # A job that calls sys.exit() fails; it does not take the worker with it.
            exits=(KeyboardInterrupt,),
            circulation=_circulation,
        )
        late = None if good_until is None else datetime.fromisoformat(good_until)
        did: list[str] = []
        if work(runtime, process, queue, seconds, good_until=late, tell=did.append):
            send(queue, 1, None)
        # Not kept as a result; the log and Flower show it.
        return "; ".join(did) or "no run needed a lane"

    @app.task(name=SUBMIT_TASK, shared=False, ignore_result=True, max_retries=0, typing=False)
    def submit_run(job: str, parameters: dict[str, Any], options: dict[str, Any]) -> int | None:
        """Submit a run of a job; a run that still goes on is no failure of the schedule."""
        run_id: int | None = submit(job, parameters, options)
        return run_id

    class Step(StewardStep):
        """The steward of this application."""

        name = f"breakbulk-steward-{id(runtime)}"

        def __init__(self, parent: Any, **kwargs: Any) -> None:
            self.runtime, self.send, self.target = runtime, send, target
            self.send_link = send_link
            super().__init__(parent, **kwargs)

    app.steps["worker"].add(Step)


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def _say_where(logger: logging.Logger, **_: Any) -> None:
    """Let the formats of the worker's own log name run and chunk."""
    add_to(logger)


def slice_within(seconds: float, task: Any) -> float:
    """The length of a slice that keeps clear of the team's own time limits, in seconds."""
    limits = [limit for limit in (getattr(task.request, "timelimit", None) or ()) if limit]
    limits += [limit for limit in (task.time_limit, task.soft_time_limit) if limit]
    conf = task.app.conf
    limits += [limit for limit in (conf.task_time_limit, conf.task_soft_time_limit) if limit]
    limits += _pool_limits
    if limits:
        return min(seconds, _PART_OF_TIME_LIMIT * float(min(limits)))
    return seconds


def worker_id() -> UUID:
    """The id of the worker that this process belongs to."""
    return UUID(os.environ[_WORKER_VARIABLE])


def lent_deadlines() -> Deadlines | None:
    """The deadlines of the worker that has started this process to work without a broker."""
    told = os.environ.get(_DEADLINES_VARIABLE)
    return None if told is None else Deadlines.lent(told)


def _settings(parent: Any, pool: str) -> dict[str, Any]:
    """How this worker is set up, its command line included, for the doctor."""
    grace = os.environ.get(GRACE_VARIABLE)
    try:
        known = {} if grace is None else {GRACE: float(grace)}
    except ValueError:
        raise SystemExit(f"{GRACE_VARIABLE} must be a number of seconds, not {grace!r}.") from None
    return told(
        parent.app.conf,
        worker_pool=pool,
        worker_prefetch_multiplier=parent.prefetch_multiplier,
        task_time_limit=parent.time_limit,
        task_soft_time_limit=parent.soft_time_limit,
        tasks=sorted(name for name in parent.app.tasks if not name.startswith("celery.")),
        **known,
    )


class StewardStep(bootsteps.StartStopStep):
    """Starts the steward with the worker and stops it after the last task.

    It starts once the pool has forked, and before the consumer: a worker that waits for its
    broker, perhaps for ever, has its steward already.
    """

    requires = ("celery.worker.components:Pool",)

    runtime: Runtime
    send: Callable[[str, int, datetime | None], bool]
    send_link: SendLink
    target: object

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        pool = parent.pool_cls.__module__.rpartition(".")[2]
        if pool in _GREEN_POOLS:
            # Not an exception that Celery lets out with its whole traceback: one sentence.
            raise SystemExit(str(unsupported(pool)))
        try:
            self.runtime.jobs.all()
            hooks = chosen_hooks(os.environ.get(HOOKS_VARIABLE, ""))
        except BreakbulkError as error:
            raise SystemExit(str(error)) from None
        os.environ[_WORKER_VARIABLE] = str(uuid4())
        _shared[0] = 0
        _deadlines.reset()
        _circulation.reset()
        attach()
        self._settings = _settings(parent, pool)
        _pool_limits[:] = [one for one in (parent.time_limit, parent.soft_time_limit) if one]
        self._parent = parent
        self._pool = pool
        self._thread: StewardThread | None = None
        self._outbox: OutboxThread | None = None
        self._throttling: ThrottlingThread | None = None
        self._watch = Watch(_deadlines, self.runtime.settings.steward_seconds)
        self._node = NodeWatch(hooks, self._at_work, _leave)
        self._heartbeat: Heartbeat | None = None
        self._without: dict[str, subprocess.Popen[bytes]] = {}
        self._places: dict[str, int] = {}
        #: Lanes of threads that were given up and do not come back.
        self._stuck: set[UUID] = set()
        signals.worker_shutting_down.connect(self._shutting_down, weak=False)
        signals.worker_shutdown.connect(self._shutdown, weak=False)

    def start(self, parent: Any) -> None:  # noqa: ARG002
        """Begin, with the worker on the list before its first message comes."""
        _hear_of_shutdowns()
        # Before the steward, whose first look may already wait for somebody who hangs.
        self._watch.start()
        steward = Steward(
            self.runtime,
            self._describe,
            alive=self._alive,
            overdue=self._watch.overdue,
            seconds_of=self._watch.seconds_of,
            end=self._end,
            send=self.send,
            free=self._free,
            work_without_broker=self._without_broker,
        )
        self._thread = StewardThread(self.runtime, steward)
        self._thread.start()
        self._outbox = OutboxThread(self.runtime, lambda: steward.leads, self.send_link)
        self._outbox.start()
        if file := os.environ.get(HEARTBEAT_VARIABLE):
            thread = self._thread
            self._heartbeat = Heartbeat(Path(file), lambda: thread.alive)
            self._heartbeat.start()
        self._node.start()
        self._throttling = ThrottlingThread(self.runtime, lambda: steward.throttles)
        self._throttling.start()
        atexit.register(self._shutdown)

    def stop(self, parent: Any) -> None:
        """Do nothing yet: the pool still works on what it has in hand."""

    def terminate(self, parent: Any) -> None:
        """Do nothing yet, likewise."""

    def _shutting_down(self, **_: Any) -> None:
        _shared[0] = 1

    def _shutdown(self, **_: Any) -> None:
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.stop()
        throttling, self._throttling = self._throttling, None
        if throttling is not None:
            throttling.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
        self._watch.stop()
        self._node.stop()
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.stop()

    def _describe(self) -> Worker:
        return Worker(
            id=worker_id(),
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=max(0, self._slots() - len(self._still_stuck())),
            pool=self._pool,
            queues=tuple(sorted(self._parent.app.amqp.queues.consume_from)),
            jobs=tuple(sorted(self.runtime.jobs.all())),
            version=breakbulk.__version__,
            draining=stopping(),
            settings=self._settings,
        )

    def _alive(self, lane: Lane) -> bool:
        if lane.pid == os.getpid():
            return lane.token in live_lanes
        return is_alive(lane.pid, lane.process_started)

    def _slots(self) -> int:
        if self._pool == "solo":
            # Whatever -c says.
            return 1
        # Under --autoscale the pool grows to this when there is work.
        return int(max(self._parent.max_concurrency or 0, self._parent.concurrency))

    def _end(self, lane: Lane) -> None:
        if lane.pid == os.getpid():
            # A thread cannot be killed: the end of its session, and the fence, have to do.
            self._stuck.add(lane.token)
        elif self._alive(lane):
            os.kill(lane.pid, signal.SIGKILL)

    def _still_stuck(self) -> set[UUID]:
        self._stuck = {token for token in self._stuck if token in live_lanes}
        return self._stuck

    def _free(self) -> bool:
        if getattr(self._parent.consumer, "connection", None) is None:
            # As long as it connects to its broker it hears of no task's end, and begins none.
            return True
        concurrency = 1 if self._pool == "solo" else self._parent.concurrency
        # A process of its own does the work of a thread that is stuck, and can be ended.
        return bool(len(state.active_requests) - len(self._still_stuck()) < concurrency)

    def _at_work(self) -> bool:
        """Whether a task is at work here, a lane or one of the team's."""
        alone = any(one.poll() is None for one in tuple(self._without.values()))
        return alone or bool(state.active_requests)

    def _without_broker(self, queue: str) -> None:
        name = getattr(self.target, "address", None) or import_name(self.target)
        if name is None:
            log.error("no lane without a broker: Breakbulk(…) is not a name in any module")
            return
        before = self._without.get(queue)
        if before is not None and before.poll() is None:
            # One at a time: while the first is still starting, others would only slow it down.
            return
        environment = {**os.environ, _WORKER_VARIABLE: str(worker_id())}
        shared = () if _deadlines.file < 0 else (_deadlines.file,)
        if shared:
            self._places.setdefault(queue, len(self._places))
            environment[_DEADLINES_VARIABLE] = _deadlines.lend(self._places[queue])
        # A process of its own, never a fork of this one, and never the main process itself.
        self._without[queue] = subprocess.Popen(
            [sys.executable, "-m", "breakbulk", "-A", name, "lane", "--queue", queue],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=shared,
        )


def unsupported(pool: str) -> UnsupportedPool:
    """Why a pool of green threads is refused."""
    return UnsupportedPool(
        f"Breakbulk does not work in the {pool} pool, where a chunk's transaction would be shared"
        " by everything that runs meanwhile: start the worker with -P prefork, threads or solo."
    )


def import_name(target: object) -> str | None:
    """Where an object can be imported from: ``module:name``."""
    for module_name, module in list(sys.modules.items()):
        if module_name == "__main__":
            continue
        for name, value in list(vars(module).items()):
            if value is target:
                return f"{module_name}:{name}"
    return None


__all__ = ["install", "lent_deadlines", "stopping", "worker_id"]
