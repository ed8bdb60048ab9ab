"""Which runs lanes may come to at this moment, as conditions in SQL.

Asked by whoever counts lanes that are missing, and by the steward's one question before that.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select

from breakbulk.domain.allowance import PATIENCE
from breakbulk.domain.status import UNFINISHED_CHUNK, WORKABLE, ChunkStatus, RunStatus
from breakbulk.ledger.schema import Schema
from breakbulk.ledger.sql import clock

#: So many chunks are counted at most: no run has more lanes at a time.
MOST_LANES: Final = 1_000
#: So long after the last carve nobody comes for what others hold: mostly they are done with it.
_TAIL_SECONDS: Final = 1.0


def startable(schema: Schema) -> ColumnElement[bool]:
    """The condition for a run that nothing keeps from being worked on, or called back for."""
    runs, allowances = schema.runs, schema.allowances
    used_until = (
        select(allowances.c.used_until)
        .where(allowances.c.run_id == runs.c.id)
        .order_by(allowances.c.id.desc())
        .limit(1)
        .correlate(runs)
        .scalar_subquery()
    )
    return and_(
        runs.c.finished_at.is_(None),
        or_(
            and_(
                runs.c.status.in_([str(status) for status in WORKABLE]),
                ~runs.c.awaits,
                # A cap that is used up for longer leaves the slots to others.
                or_(used_until.is_(None), used_until <= clock(PATIENCE)),
                or_(runs.c.not_before.is_(None), runs.c.not_before <= clock()),
            ),
            and_(
                runs.c.status == str(RunStatus.FINISHING),
                runs.c.finisher.is_(None),
                or_(runs.c.finish_after.is_(None), runs.c.finish_after <= clock()),
            ),
        ),
    )


def ahead(schema: Schema) -> ColumnElement[bool]:
    """The condition for a run whose source has given more than was carved of it.

    A table has all there is; of an iterable that is being read it is what was loaded.
    """
    runs, chunks, items = schema.runs, schema.chunks, schema.items
    carved = (
        select(chunks.c.rows_upto)
        .where(chunks.c.run_id == runs.c.id)
        .order_by(chunks.c.number.desc(), chunks.c.path.desc())
        .limit(1)
        .correlate(runs)
        .scalar_subquery()
    )
    loaded = (
        select(func.max(items.c.number))
        .where(items.c.run_id == runs.c.id)
        .correlate(runs)
        .scalar_subquery()
    )
    loading = runs.c.status == str(RunStatus.LOADING)
    more: ColumnElement[bool] = func.coalesce(loaded, 0) > func.coalesce(carved, 0)
    return case((loading, more), else_=True)


def unfinished(schema: Schema) -> ColumnElement[bool]:
    """The condition for a run with a chunk that is not done."""
    chunks = schema.chunks
    return exists().where(chunks.c.run_id == schema.runs.c.id, schema.open_chunks(UNFINISHED_CHUNK))


def present(schema: Schema) -> ColumnElement[int]:
    """How many lanes a run has."""
    runs, lanes = schema.runs, schema.lanes
    count = select(func.count()).where(lanes.c.run_id == runs.c.id).correlate(runs)
    return count.scalar_subquery()


def held(schema: Schema) -> ColumnElement[int]:
    """How many chunks a run's lanes hold, once nothing is left to carve; until then 0."""
    runs, carves, chunks = schema.runs, schema.carves, schema.chunks
    in_hands = (
        select(chunks.c.number)
        .where(chunks.c.run_id == runs.c.id, schema.open_chunks([ChunkStatus.CARVED]))
        .limit(MOST_LANES)
        .correlate(runs)
        .subquery()
    )
    # In a case, so that nobody counts while there is something to carve.
    return case(
        (
            carves.c.exhausted_at <= clock(-_TAIL_SECONDS),
            select(func.count()).select_from(in_hands).scalar_subquery(),
        ),
        else_=0,
    )


def to_do(schema: Schema) -> ColumnElement[bool]:
    """The condition for a run that has something to do at this moment for one lane more."""
    runs, carves, waiting = schema.runs, schema.carves, schema.waiting
    # Asked once: a clock that moves is nothing to look up in an index.
    now = select(clock()).scalar_subquery()
    fresh = exists().where(carves.c.run_id == runs.c.id, carves.c.exhausted_at.is_(None))
    due = exists().where(waiting.c.run_id == runs.c.id, waiting.c.not_before <= now)
    return or_(
        runs.c.status == str(RunStatus.FINISHING),
        and_(fresh, ahead(schema)),
        due,
        # What lanes hold and cannot have begun, others may take over.
        exists().where(carves.c.run_id == runs.c.id, held(schema) > present(schema)),
        # All is done, and nobody has asked yet.
        and_(~unfinished(schema), ahead(schema)),
    )
