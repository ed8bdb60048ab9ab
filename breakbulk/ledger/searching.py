"""Conditions for pages of runs, written so that an index knows them after any number of runs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Table, and_, select, union_all

from breakbulk.domain.status import ACTIVE, FINISHED, RunStatus
from breakbulk.ledger.sql import clock

#: Seconds by which a run may have been submitted before one whose number is lower.
_DISORDER = 60.0


def within_seconds(runs: Table, seconds: float) -> list[ColumnElement[bool]]:
    """Submitted in the last so many seconds."""
    # Asked once: a clock that moves is nothing to look up in an index.
    since = select(clock(-seconds)).scalar_subquery()
    # Numbers are drawn in the order of time, but for moments. Whoever reads them backwards need
    # not read on until the page is full.
    edge = select(clock(-seconds - _DISORDER)).scalar_subquery()
    first = select(runs.c.id).where(runs.c.submitted_at >= edge)
    first = first.order_by(runs.c.submitted_at).limit(1)
    return [runs.c.submitted_at >= since, runs.c.id >= first.scalar_subquery()]


def in_statuses(
    runs: Table, wanted: frozenset[RunStatus], others: Sequence[ColumnElement[bool]], limit: int
) -> ColumnElement[bool]:
    """In one of these statuses.

    Args:
        others: the other conditions of the page.
        limit: how many runs it shows, newest first.
    """
    listed = runs.c.status.in_([str(status) for status in sorted(wanted)])
    if wanted <= ACTIVE:
        # What the index of active runs goes by: there may be many that have ended.
        return and_(listed, runs.c.finished_at.is_(None))
    if wanted >= FINISHED:
        return listed
    if len(wanted) == 1:
        return and_(listed, runs.c.finished_at.is_not(None))
    # No index has several of them in the order of their numbers, so as many of each as are shown:
    # some may be rare among all the others, and long ago.
    parts = [frozenset([one]) for one in wanted & FINISHED]
    parts += [wanted & ACTIVE] if wanted & ACTIVE else []
    newest = [
        select(runs.c.id)
        .where(*others, in_statuses(runs, part, others, limit))
        .order_by(runs.c.id.desc())
        .limit(limit)
        .subquery()
        for part in parts
    ]
    return runs.c.id.in_(union_all(*(select(one.c.id) for one in newest)))
