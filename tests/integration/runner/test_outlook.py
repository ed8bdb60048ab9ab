"""What a run expects is told better by its lanes, and by nothing that costs a chunk anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text, update

from breakbulk import RunStatus
from breakbulk.runner import outlook
from breakbulk.sources import table
from tests.support.yard import Yard, statements, touch

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from breakbulk import RunHandle

_ROWS = 400


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at once, and never count what a larger table would make too dear to count."""
    monkeypatch.setattr(outlook, "_SETTLED", 0.0)
    monkeypatch.setattr(table, "CHEAP_COUNT", 10)


def expect(yard: Yard, handle: RunHandle, rows: int) -> None:
    with yard.transaction() as connection:
        runs = yard.ledger.database.schema.runs
        connection.execute(update(runs).values(rows_estimate=rows))


@pytest.mark.usefixtures("hurried")
def test_a_wrong_estimate_is_mended_once_a_stay(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=_ROWS, shared=True, max_carve=1)
    if clean_engine.dialect.name == "postgresql":
        with clean_engine.begin() as connection:
            connection.execute(text("ANALYZE goods"))
    handle = yard.submit(yard.job(touch, chunk_size=40))
    expect(yard, handle, 30)
    with statements(yard.engine) as seen:
        yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.record().rows_estimate == pytest.approx(_ROWS, rel=0.1)
    writes = [one for one in seen if one.startswith("UPDATE") and "rows_estimate=" in one]
    assert len(writes) == 1
    yard.close()


@pytest.mark.usefixtures("hurried")
def test_an_estimate_that_is_right_is_left_alone(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=_ROWS, shared=True, max_carve=1)
    if clean_engine.dialect.name == "postgresql":
        with clean_engine.begin() as connection:
            connection.execute(text("ANALYZE goods"))
    handle = yard.submit(yard.job(touch, chunk_size=40))
    expect(yard, handle, 405)
    with statements(yard.engine) as seen:
        yard.settle(handle)
    assert not [one for one in seen if one.startswith("UPDATE") and "rows_estimate=" in one]
    yard.close()


@pytest.mark.usefixtures("hurried")
def test_work_goes_on_where_nothing_can_be_guessed(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        with yard.engine.connect() as connection:
            connection.execute(text("SELECT nothing FROM nowhere"))
        return 0

    monkeypatch.setattr(table.TableSource, "outlook", fails)
    handle = yard.run(touch, chunk_size=5)
    assert handle.status() is RunStatus.SUCCEEDED
