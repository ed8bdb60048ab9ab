"""Pruning many runs, as an application or an operator asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import ParameterError, RunNotFound, StateError
from breakbulk.ledger.faults import translated
from breakbulk.ledger.sql import LONGEST_WAIT
from breakbulk.runner import prune as pruning
from breakbulk.runner.prune import Pruned
from breakbulk.runner.runtime import Runtime


def prune_old(
    runtime: Runtime,
    older_than: timedelta,
    *,
    job: str | None,
    statuses: Iterable[RunStatus] | None,
    dry_run: bool,
    actor: str,
    tell: Callable[[Pruned], None] | None,
) -> list[Pruned]:
    """See :meth:`breakbulk.Breakbulk.prune`."""
    seconds = older_than.total_seconds()
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ParameterError(
            f"Nothing ended {older_than} ago: give a time from 0 s to 1,000 years."
        )
    meant = FINISHED if statuses is None else frozenset(statuses)
    if meant - FINISHED:
        going = ", ".join(sorted(meant - FINISHED))
        raise ParameterError(
            f"Only runs that have ended can be pruned, and those {going} have not."
        )
    found: list[Pruned] = []
    with translated(), runtime.database.connect() as connection:
        for run in pruning.old(runtime, connection, seconds=seconds, job=job, statuses=meant):
            try:
                one = (
                    pruning.judge(runtime, connection, run)
                    if dry_run
                    else pruning.prune(runtime, connection, run.id, actor)
                )
            except (RunNotFound, StateError):
                # Somebody else was quicker: it is gone, or was opened again.
                continue
            found.append(one)
            if tell is not None:
                tell(one)
    return found
