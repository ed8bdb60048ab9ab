"""A steward who has nothing to do asks one question, and misses nothing by that."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event, update

from breakbulk import Chunk, RunStatus
from breakbulk.ledger.sql import clock
from tests.support.yard import Boom, Goods, Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk.ledger.signs import Signs
    from tests.support.yard import Crew


@contextmanager
def asked(yard: Yard) -> Iterator[list[str]]:
    """What the database is asked."""
    engine, texts = yard.runtime.database.engine, []

    def note(_connection: object, _cursor: object, text: str, *_: object) -> None:
        texts.append(text)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield texts
    finally:
        event.remove(engine, "before_cursor_execute", note)


def look(yard: Yard, crew: Crew) -> Signs:
    with yard.reading() as connection:
        return yard.ledger.signs.read(connection, crew.process.worker_id)


def selects(texts: list[str]) -> list[str]:
    return [one for one in texts if one.startswith("SELECT")]


def test_where_nothing_goes_on_one_question_is_asked(yard: Yard) -> None:
    crew = yard.first_crew
    crew.tick()
    with asked(yard) as texts:
        crew.tick()
    assert len(selects(texts)) == 1


def test_while_all_slots_are_at_work_few_are_asked(yard: Yard) -> None:
    crew, handle = yard.first_crew, yard.submit(yard.job())
    yard.lane(handle, crew=crew)
    crew.tick()
    with asked(yard) as texts:
        crew.tick()
    # The signs, this worker's lanes, the runs that go on.
    assert len(selects(texts)) == 3
    signs = look(yard, crew)
    assert {name for name in signs.__slots__ if getattr(signs, name)} == {"lanes", "active"}


def test_a_run_without_a_lane_is_seen_though_no_slot_is_free(yard: Yard) -> None:
    crew = yard.first_crew
    yard.lane(yard.submit(yard.job()), crew=crew)
    assert not look(yard, crew).wanting
    yard.submit(yard.job(), overlap="allow")
    assert look(yard, crew).wanting


def test_a_free_slot_is_seen_though_every_run_has_a_lane(yard: Yard) -> None:
    crew = yard.crew(slots=2)
    yard.lane(yard.submit(yard.job()), crew=crew)
    assert look(yard, crew).wanting


@pytest.mark.parametrize(
    "values",
    [
        {"awaits": True},
        {"not_before": clock(60.0)},
        {"throttle": "{}", "throttled_to": 0},
        {"status": "finishing", "finish_after": clock(60.0)},
        {"status": "loading", "until": None},
    ],
    ids=["awaits", "later", "throttled", "callback later", "loading"],
)
def test_a_run_that_no_lane_can_do_anything_for_is_none_to_wake_anybody_for(
    yard: Yard, values: dict[str, Any]
) -> None:
    crew, handle = yard.first_crew, yard.submit(yard.job())
    assert look(yard, crew).wanting
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).where(runs.c.id == handle.id).values(values))
    signs = look(yard, crew)
    assert (signs.wanting, signs.active) == (False, True)
    with yard.transaction() as connection:
        connection.execute(update(runs).values(status="running", awaits=False, not_before=None))
        connection.execute(update(runs).values(throttle=None, throttled_to=None))
    assert look(yard, crew).wanting


def test_a_run_with_all_the_lanes_it_may_have_needs_no_free_slot(yard: Yard) -> None:
    crew = yard.crew(slots=2)
    handle = yard.submit(yard.job(), max_lanes=1)
    yard.lane(handle, crew=crew)
    assert not look(yard, crew).wanting
    handle.limit_lanes(2)
    assert look(yard, crew).wanting


def test_a_run_whose_chunks_all_wait_for_another_try_is_seen_when_it_is_time(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        if chunk.attempt == 1:
            raise Boom

    handle = yard.submit(yard.job(process, retry_delay=3_600))
    crew = yard.first_crew
    crew.work()
    assert yard.count("waiting") == 3
    assert not look(yard, crew).wanting
    waiting = yard.ledger.database.schema.waiting
    with yard.transaction() as connection:
        connection.execute(update(waiting).values(not_before=clock()))
    assert look(yard, crew).wanting
    yard.settle(handle)
    assert not look(yard, crew).wanting


def test_a_run_whose_end_nobody_has_asked_for_is_seen(yard: Yard) -> None:
    crew, handle = yard.first_crew, yard.run()
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(
            update(schema.runs)
            .where(schema.runs.c.id == handle.id)
            .values(status="running", finished_at=None)
        )
    assert look(yard, crew).wanting


def test_a_lane_whose_run_is_cancelled_by_force_is_seen(yard: Yard) -> None:
    crew, handle = yard.first_crew, yard.submit(yard.job())
    yard.lane(handle, crew=crew)
    assert not look(yard, crew).forced
    handle.cancel(force=True)
    signs = look(yard, crew)
    assert (signs.forced, signs.resting) == (True, False)


def test_a_lane_without_a_worker_is_seen(yard: Yard) -> None:
    crew, handle = yard.first_crew, yard.submit(yard.job())
    one = yard.lane(handle, crew=crew)
    assert not look(yard, crew).lost
    with yard.transaction() as connection:
        yard.ledger.workers.remove(connection, one.worker_id)
    assert look(yard, crew).lost


def test_a_run_at_rest_and_a_lost_callback_are_seen(yard: Yard) -> None:
    crew, handle = yard.first_crew, yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    for status, finisher in ((RunStatus.PAUSING, None), (RunStatus.FINISHING, uuid4())):
        values = {"status": str(status), "finisher": finisher, "finisher_lane": finisher}
        with yard.transaction() as connection:
            connection.execute(update(runs).where(runs.c.id == handle.id).values(values))
        signs = look(yard, crew)
        assert signs.resting is (status is RunStatus.PAUSING)
        assert signs.calling is (finisher is not None)
    with yard.transaction() as connection:
        connection.execute(update(runs).values(status="running", finisher=None))
