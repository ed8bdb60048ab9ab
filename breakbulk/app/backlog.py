"""The work that is left, as an application with its jobs and queues sees it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from sqlalchemy import Connection

from breakbulk.broker import Broker
from breakbulk.domain.backlog import Backlog, backlog
from breakbulk.jobs import Registry
from breakbulk.runner.runtime import Runtime


def backlog_of(
    runtime: Runtime, connection: Connection, places: AbstractSet[tuple[str, str]], target: float
) -> Backlog:
    """The backlog of the queues of these jobs, and of all others that have runs or workers.

    Raises:
        ConfigurationError: the target is no number of seconds, more than 0.
    """
    ledger = runtime.ledger
    return backlog(
        ledger.lanes.now(connection),
        ledger.backlogs.runs(connection),
        ledger.backlogs.slots(connection),
        {queue for queue, _job in places},
        target,
    )


def places_of(jobs: Registry, broker: Broker | None) -> set[tuple[str, str]]:
    """The queue of each job, with its name; without a broker, only of those that say."""
    found = set()
    for spec in jobs:
        given = spec.options.queue
        queue = given if broker is None else broker.queue_for(given)
        found |= {(queue, spec.name)} if queue is not None else set()
    return found
