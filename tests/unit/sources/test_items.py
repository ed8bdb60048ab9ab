"""Items in the ledger as a source: cut by arithmetic, known by identity."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from breakbulk.domain.chunk import Bounds, RunId
from breakbulk.errors import SourceError
from breakbulk.ledger.schema import schema
from breakbulk.sources import Items, StoredItems

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLE = schema("breakbulk", flat=True).items
_ALL: Any = object()


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on a table of items; tests fill it for run 1."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        _TABLE.create(connection)
    with Session(engine) as made:
        yield made
    engine.dispose()


def fill(session: Session, *texts: str) -> StoredItems:
    """Store items."""
    session.execute(
        _TABLE.insert(),
        [
            {"run_id": run, "number": number, "value": text}
            for run in (1, 2)
            for number, text in enumerate(texts, 1)
        ],
    )
    return StoredItems(_TABLE, RunId(1))


@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 5))),
)
def test_walks_tile_the_items(total: int, size: int, steps: list[tuple[int, int]]) -> None:
    """However it is called: with other ends while more items come, and other numbers of chunks."""
    source = StoredItems(_TABLE, RunId(1))
    bounds: list[Bounds] = []
    known = 0
    for more, chunks in [*steps, *[(total, 100)] * 10]:
        known = min(total, known + more)
        after = bounds[-1].upto if bounds else None
        walk = source.walk(
            _ALL, after=after, scout=None, until=(known,), chunk_size=size, chunks=chunks
        )
        assert walk.scout is None
        assert len(walk.cuts) <= chunks
        assert all(1 <= cut.rows <= size for cut in walk.cuts)
        bounds += [cut.bounds for cut in walk.cuts]
        assert walk.reached_end == (bounds[-1].upto == (known,))
    assert bounds[0].after is None
    assert all(one.upto == other.after for one, other in pairwise(bounds))
    if bounds[-1].upto == (total,):
        numbers = [key for one in bounds for key in source.keys(_ALL, one)]
        assert numbers == [(number,) for number in range(1, total + 1)]


def test_rows_are_read_in_pages(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breakbulk.sources.items.PAGE", 2)
    source = fill(session, *map(str, range(10, 17)))
    assert list(source.rows(session, Bounds(None, (7,)))) == [10, 11, 12, 13, 14, 15, 16]
    assert list(source.rows(session, Bounds((2,), (5,)))) == [12, 13, 14]
    assert source.until(session.connection()) == (7,)
    assert source.count(session.connection(), None) == 7
    assert source.count(session.connection(), (3,)) == 3
    assert source.null_keys(session.connection()) == 0


def test_items_that_were_deleted_are_missed(session: Session) -> None:
    source = fill(session, "1", "2", "3")
    session.execute(_TABLE.delete().where(_TABLE.c.number == 2))
    with pytest.raises(SourceError, match="Of the items 1 to 3 only 2 are in the ledger"):
        list(source.rows(session, Bounds(None, (3,))))


def test_the_condition_finds_the_chunks_items_and_no_other_runs(session: Session) -> None:
    source = fill(session, "1", "2", "3")
    found = session.execute(_TABLE.select().where(source.condition(Bounds((1,), (3,))))).all()
    assert [(row.run_id, row.number) for row in found] == [(1, 2), (1, 3)]


# Keys


def test_keys_of_items_that_were_collected_first(session: Session) -> None:
    source = fill(session, '{"a":1}', '{"a":1}', '"text"', '"text"', "1000", "1000", "1.5", "1.5")
    items = list(source.rows(session, Bounds(None, (8,))))
    assert [source.key_of(item) for item in reversed(items)] == [(n,) for n in range(8, 0, -1)]


def test_keys_while_the_chunk_gives_its_items(session: Session) -> None:
    source = fill(session, "1", "1", "true", "null", "1", "null")
    found = [source.key_of(item) for item in source.rows(session, Bounds(None, (6,)))]
    assert found == [(n,) for n in range(1, 7)]


def test_keys_in_a_second_pass(session: Session) -> None:
    source = fill(session, "1", "2", "1", "1")
    bounds = Bounds(None, (4,))
    assert len(list(source.rows(session, bounds))) == 4
    found = [source.key_of(item) for item in source.rows(session, bounds)]
    assert found == [(n,) for n in range(1, 5)]


def test_what_may_be_either_is_refused(session: Session) -> None:
    """Else two effects would have one key, and one of them would never happen."""
    source = fill(session, "1", "1", "2")
    items = list(source.rows(session, Bounds(None, (3,))))
    with pytest.raises(SourceError, match=r"are the same value \(1, 2\)"):
        source.key_of(items[0])
    assert source.key_of(items[2]) == (3,)


def test_so_it_is_where_items_are_taken_by_twos(session: Session) -> None:
    source = fill(session, "1", "1", "2")
    rows = source.rows(session, Bounds(None, (3,)))
    first, _second = next(rows), next(rows)
    with pytest.raises(SourceError, match="cannot tell which is meant"):
        source.key_of(first)


def test_a_copy_has_no_key(session: Session) -> None:
    source = fill(session, '{"a":1}')
    (item,) = source.rows(session, Bounds(None, (1,)))
    with pytest.raises(SourceError, match="no copy"):
        source.key_of(dict(item))


def test_another_attempt_is_given_its_items_anew(session: Session) -> None:
    source = fill(session, '{"a":1}')
    (item,) = source.rows(session, Bounds(None, (1,)))
    item["a"] = 2
    with Session(session.connection()) as other:
        (again,) = source.rows(other, Bounds(None, (1,)))
        assert again == {"a": 1}
        with pytest.raises(SourceError):
            source.key_of(item)
        assert source.key_of(again) == (1,)


# What users give


@pytest.mark.parametrize("given_", ["text", b"x", {"a": 1}, 1, None])
def test_what_is_hardly_meant_is_refused(given_: Any) -> None:
    with pytest.raises(SourceError, match=r"as in Items\(\[1, 2, 3\]\)"):
        Items(given_)


def test_nothing_is_read_before_its_time() -> None:
    numbers = iter(range(3))
    Items(numbers)
    assert list(numbers) == [0, 1, 2]
