"""Rows in another database than the ledger: what is lost in between is repeated, never missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, insert, select

from breakbulk import RunStatus
from tests.support.yard import Base, Goods, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from breakbulk import Chunk


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Engine]:
    """A database with the goods, and without a ledger."""
    engine = create_engine(f"sqlite:///{tmp_path / 'goods.sqlite'}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Goods), [{"id": number} for number in range(1, 26)])
    yield engine
    engine.dispose()


class Death(BaseException):
    pass


def test_a_crash_between_the_two_commits_repeats_the_chunk(
    database_url: str, elsewhere: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows first, the mark second: the other way round the chunk would be missed."""
    yard = Yard(database_url, data=elsewhere, at_least_once=True)
    mark_done = yard.ledger.chunks.mark_done
    marked: list[int] = []
    seen: list[str] = []

    def process(chunk: Chunk[Goods]) -> None:
        (row,) = yard.rows_of("chunks", f"number = {chunk.number}")
        seen.append(row["status"])
        touch(chunk)

    def die_once(*given: Any) -> Any:
        marked.append(1)
        if len(marked) == 1:
            raise Death
        return mark_done(*given)

    monkeypatch.setattr(yard.ledger.chunks, "mark_done", die_once)
    handle = yard.submit(yard.job(process))
    with pytest.raises(Death):
        yard.first_crew.work()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert set(seen) == {"carved"}, "nothing is called done that is not"
    with elsewhere.connect() as connection:
        versions = list(connection.execute(select(Goods.version).order_by(Goods.id)).scalars())
    assert versions == [2] * 10 + [1] * 15
    assert yard.notices() == ["succeeded 25"]
    yard.close()
