"""Tables that are empty, tiny, sparse or shrinking end as well, and add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from breakbulk import RunStatus
from tests.support.yard import Goods, Yard, failing, touch

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from breakbulk import Chunk


def test_an_empty_table_is_done_at_once(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, shared=True)
    handle = yard.run()
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert handle.chunks() == []
    assert yard.notices() == ["succeeded 0"]
    progress = handle.progress()
    assert (progress.fraction, progress.total_is_exact) == (1.0, True)
    yard.close()


@pytest.mark.parametrize("chunk_size", [1, 10])
def test_one_row(clean_engine: Engine, chunk_size: int) -> None:
    yard = Yard(clean_engine, rows=1, shared=True)
    handle = yard.run(chunk_size=chunk_size)
    yard.assert_proper(handle)
    assert len(handle.chunks()) == 1
    yard.close()


def test_a_source_that_matches_nothing_covers_everything(yard: Yard) -> None:
    handle = yard.run(source=lambda: select(Goods).where(Goods.version > 99))
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    (chunk,) = handle.chunks()
    assert (chunk.after, chunk.upto, chunk.rows) == (None, "[25]", 0)
    assert yard.notices() == ["succeeded 0"]


def test_one_match_far_away(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=5_000, shared=True)
    handle = yard.run(source=lambda: select(Goods).where(Goods.id == 4_321))
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert [number for number, version in yard.versions().items() if version] == [4_321]
    yard.close()


@pytest.mark.parametrize("chunk_size", [25, 26, 24, 5])
def test_sizes_that_just_fit(yard: Yard, chunk_size: int) -> None:
    handle = yard.run(chunk_size=chunk_size)
    yard.assert_proper(handle)
    assert len(handle.chunks()) == -(-25 // chunk_size)


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_a_few_rows_end_as_well(clean_engine: Engine, rows: int, chunk_size: int) -> None:
    """Two rows, one a chunk: the walk had said "more" at the last key, and nobody ever less."""
    yard = Yard(clean_engine, rows=rows, shared=True)
    yard.assert_proper(yard.run(chunk_size=chunk_size))
    yard.close()


def test_rows_that_go_away_are_no_harm(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 1:
            for number in (11, 12, 25):
                row = chunk.session.get(Goods, number)
                chunk.session.delete(row)

    handle = yard.run(process, finished=None)
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert set(yard.versions().values()) == {1}
    assert len(yard.versions()) == 22


def test_tallies_add_up_and_folding_them_loses_nothing(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=100, shared=True, tally_seconds=0)
    handle = yard.run(failing(1))
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 100
    before = yard.count("tallies")
    for _ in range(2):
        with yard.transaction() as connection:
            yard.ledger.folding.fold(connection, -60)
    assert yard.count("tallies") < before
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 100
    assert sum(row["chunks"] for row in yard.rows_of("tallies")) == 10
    assert handle.progress().rows_done == 100
    yard.close()
