"""When a run could start: from then on counts how long it took.

What it stood still before, because whoever submitted it wanted that, says nothing of the work: a
time to start at, another run of its kind that was to end first, a value that it awaited.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import clock, seconds_between

#: What the activity of a run says when what it stood behind or awaited lets it start.
RELEASED: Final = "released"
#: Among so many first notes of a run it is found: little happens to one that may not start.
_FIRST = 100


def seconds_since_submit(schema: Schema) -> ColumnElement[float]:
    """From a run's submit to its end, or until now."""
    return seconds_between(schema.runs.c.submitted_at, _end(schema))


def seconds_taken(schema: Schema) -> ColumnElement[float]:
    """From when a run could start to its end, or until now; below 0 while it may not yet."""
    runs, activity = schema.runs, schema.activity
    first = (
        select(activity.c.at, activity.c.verb)
        .where(activity.c.run_id == runs.c.id)
        .order_by(activity.c.id)
        .limit(_FIRST)
        .correlate(runs)
        .subquery()
    )
    released = (
        select(func.max(first.c.at))
        .where(
            first.c.verb == RELEASED,
            # What its next round stood behind is time between its rounds.
            or_(runs.c.started_at.is_(None), first.c.at <= runs.c.started_at),
        )
        .correlate(runs)
        .scalar_subquery()
    )
    submitted = runs.c.submitted_at
    latest: Any = func.max if schema.flat else func.greatest
    could_start = latest(
        submitted,
        func.coalesce(runs.c.not_before, submitted),
        func.coalesce(released, submitted),
    )
    stands = and_(runs.c.started_at.is_(None), or_(runs.c.awaits, runs.c.waits_for.is_not(None)))
    return case((stands, 0.0), else_=seconds_between(could_start, _end(schema)))


def _end(schema: Schema) -> Any:
    return func.coalesce(schema.runs.c.finished_at, clock())
