"""A cap on rows a second: one for all lanes, and who waits for long keeps no slot."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update

from breakbulk import Chunk
from breakbulk.ledger.sql import seconds_between
from tests.integration.runner.test_throttling import look
from tests.support.yard import Boom, Goods, Yard, together, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.support.yard import Crew

_CAP, _ROWS, _CHUNK = 200, 600, 20


@pytest.fixture
def large_yard(clean_engine: Engine) -> Iterator[Yard]:
    yard = Yard(clean_engine, rows=_ROWS, shared=True)
    yield yard
    yard.close()


def test_it_is_one_for_all_lanes(large_yard: Yard) -> None:
    yard = large_yard
    handle = yard.submit(yard.job(chunk_size=_CHUNK), max_rows_per_second=_CAP)
    crews = [yard.crew(slots=3) for _ in range(3)]
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(update(schema.runs).values(throttled_to=3))
    together(*(crew.work for crew in crews))
    yard.settle(handle)
    yard.assert_proper(handle)
    with yard.reading() as connection:
        chunks = schema.chunks
        ended = (func.min(chunks.c.ended_at), func.max(chunks.c.ended_at))
        seconds = connection.execute(select(seconds_between(*ended))).scalar_one()
    # The last quarter of a second may be done at once, and a second made up for.
    assert seconds >= (_ROWS - _CAP / 4) / _CAP - 1


def test_it_keeps_only_as_many_lanes_as_it_needs(yard: Yard) -> None:
    handle = yard.submit(yard.job(), max_rows_per_second=1_000)
    yard.crew(slots=4)
    schema = yard.ledger.database.schema
    assert handle.record().throttled_to == 1, "until it is known how fast a lane is"
    yard.settle(handle)
    with yard.transaction() as connection:
        # Ten rows in each of three chunks; a lane does 400 rows a second.
        connection.execute(update(schema.chunks).values(seconds=0.025))
        connection.execute(
            update(schema.runs).values(status="running", finished_at=None, max_lanes=4)
        )
    look(yard)
    assert handle.record().throttled_to == 4
    assert handle.progress().throttled is None, "that is no reason to hold back"


def test_whoever_would_wait_for_long_leaves_the_slot_to_others(yard: Yard) -> None:
    handle = yard.submit(yard.job(), max_rows_per_second=0.2)
    crew = yard.crew()
    crew.work()
    versions = yard.versions()
    assert [number for number, version in versions.items() if version] == [1], "one row in 5 s"
    assert yard.count("lanes") == 0
    crew.sent.clear()
    crew.tick()
    assert (crew.sent, crew.alone) == ([], []), "and nobody is asked to come before it is time"
    handle.limit(max_rows_per_second=None)
    yard.settle(handle)
    yard.assert_proper(handle)


@contextmanager
def meanwhile(crew: Crew, once: Callable[[], bool], act: Callable[[], object]) -> Iterator[Crew]:
    """A crew whose lane looks up between two chunks: as soon as something is so, that is done."""
    acted: list[bool] = []

    def stopping() -> bool:
        if not acted and once():
            acted.append(True)
            act()
        return False

    yield replace(crew, process=replace(crew.process, stopping=stopping))
    assert acted


def test_a_new_cap_is_kept_from_the_next_carve_on(yard: Yard) -> None:
    handle = yard.submit(yard.job())

    def slow() -> None:
        handle.limit(max_rows_per_second=0.2)

    with meanwhile(yard.crew(), lambda: max(yard.versions().values()) > 0, slow) as crew:
        crew.work()
    # The chunk that was done by then, and one row in 5 s.
    assert sum(yard.versions().values()) == 10 + 1
    assert yard.count("lanes") == 0, "nor is the slot kept"


def test_a_cap_that_is_taken_away_is_forgotten_with_the_next_carve(yard: Yard) -> None:
    handle = yard.submit(yard.job(), max_rows_per_second=1)

    def free() -> None:
        handle.limit(max_rows_per_second=None)

    with meanwhile(yard.crew(), lambda: max(yard.versions().values()) > 0, free) as crew:
        crew.work()
    yard.settle(handle)
    yard.assert_proper(handle)
    assert [chunk.rows for chunk in handle.chunks()] == [1, 10, 10, 4]


def test_what_waits_is_begun_under_the_cap_that_is_now(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if (chunk.number, chunk.attempt) == (1, 1):
            raise Boom

    handle = yard.submit(yard.job(process))

    def slow() -> None:
        handle.limit(max_rows_per_second=0.2)

    with meanwhile(yard.crew(), lambda: yard.count("waiting") > 0, slow) as crew:
        crew.work()
    assert sum(yard.versions().values()) == 10, "a chunk that had been carved, and nothing more"


def test_what_is_tried_again_counts_again(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.attempt == 1:
            raise Boom

    handle = yard.submit(yard.job(process=process, chunk_size=5), max_rows_per_second=100)
    yard.settle(handle)
    yard.assert_proper(handle)
    schema = yard.ledger.database.schema
    with yard.reading() as connection:
        used = schema.allowances.c.used_until
        query = select(seconds_between(func.min(used), func.max(used)))
        seconds = connection.execute(query).scalar_one()
    # 25 rows twice; the first may have been taken five at a time.
    assert seconds >= 0.45 - 0.25
