"""Working without a Celery worker: in the caller's process (eager mode), or in one of our own."""

from __future__ import annotations

import logging
import os
import socket
import time
from uuid import UUID, uuid4

from breakbulk.domain.chunk import RunId
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, WORKABLE, RunStatus
from breakbulk.ledger.lanes import Lane
from breakbulk.ledger.workers import Worker
from breakbulk.runner.deadlines import Deadlines
from breakbulk.runner.runtime import Process, Runtime, live_lanes
from breakbulk.runner.sending import SendLink, send_all
from breakbulk.runner.steward import Steward
from breakbulk.runner.steward_thread import StewardThread
from breakbulk.runner.throttling_thread import ThrottlingThread
from breakbulk.runner.work import work

log = logging.getLogger("breakbulk.inline")

_LOOK_AGAIN = 0.05


def work_lane(
    runtime: Runtime, worker_id: UUID, queue: str, deadlines: Deadlines | None = None
) -> None:
    """Be a lane of a running worker, in a process of its own, as long as one is needed.

    Args:
        deadlines: where the worker's steward sees how long it has been at a chunk.
    """
    process = Process.current(worker_id, deadlines=deadlines)
    while work(runtime, process, queue, runtime.settings.slice_seconds):
        log.debug("no broker: another slice on %r", queue)


def work_until_over(runtime: Runtime, run: Run, send_link: SendLink) -> None:
    """Work in this process until a run has ended or stands still: Celery's eager mode.

    A retry is waited for, as its delay says. Then all is sent that is due.
    """
    process = Process.current(uuid4())
    worker = Worker(
        id=process.worker_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=1,
        pool="inline",
        queues=(run.queue,),
        jobs=tuple(runtime.jobs.all()),
        version="",
    )

    def alive(lane: Lane) -> bool:
        return lane.token in live_lanes

    steward = Steward(
        runtime,
        lambda: worker,
        alive=alive,
        send=lambda _queue, _count, _good_until: True,
        free=lambda: False,
        work_without_broker=lambda _queue: None,
    )
    thread = StewardThread(runtime, steward)
    throttling = ThrottlingThread(runtime, lambda: steward.throttles)
    thread.start()
    throttling.start()
    try:
        while _goes_on(runtime, run.id):
            work(runtime, process, run.queue, runtime.settings.slice_seconds)
            time.sleep(_LOOK_AGAIN)
        send_all(runtime, send_link)
    finally:
        throttling.stop()
        thread.stop()


def _goes_on(runtime: Runtime, run_id: RunId) -> bool:
    with runtime.database.reading() as connection:
        status = runtime.ledger.runs.status(connection, run_id)
    return status not in FINISHED and status in WORKABLE | {
        RunStatus.FINISHING,
        RunStatus.CANCELLING,
    }
