"""What is drawn of a run, and that drawing it never reads all of its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert

from breakbulk import Chunk, RunStatus
from breakbulk.domain.chunkmap import cells_for
from tests.support.plans import plan_of
from tests.support.yard import Boom, Goods, touch

if TYPE_CHECKING:
    from random import Random

    from breakbulk import RunHandle
    from breakbulk.domain.chunkmap import ChunkMap
    from tests.support.yard import Yard

ROWS = 400


def bad(*ids: int) -> object:
    """A process that fails for some rows."""

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            if row.id in ids:
                raise Boom(f"row {row.id}")
            row.version += 1

    return process


def chunk_map(yard: Yard, handle: RunHandle, most: int = 2000) -> ChunkMap:
    with yard.reading() as connection:
        run = yard.ledger.runs.get(connection, handle.id)
        progress = yard.ledger.reports.progress(connection, run)
        return yard.ledger.charts.chunk_map(connection, run, progress, most=most)


def test_a_map_names_what_failed_and_what_was_split(yard: Yard) -> None:
    yard.add_goods(range(1000, 1000 + ROWS))
    handle = yard.run(bad(1005), max_retries=0)  # type: ignore[arg-type]
    assert handle.status() is RunStatus.PARTIAL
    whole = chunk_map(yard, handle)
    chunks = yard.rows_of("chunks")
    assert whole.exact
    assert whole.total == max(chunk["number"] for chunk in chunks) == len(whole.cells)
    (failed,) = (chunk["number"] for chunk in chunks if chunk["status"] == "failed")
    states = {cell.first: cell.state for cell in whole.cells}
    assert states.pop(failed) == "failed"
    assert set(states.values()) == {"done"}
    # However coarse, what failed is not lost.
    for most in (1, 2, 3, 7, 20):
        coarse = chunk_map(yard, handle, most)
        assert len(coarse.cells) == cells_for(whole.total, most)
        (found,) = (cell for cell in coarse.cells if cell.state == "failed")
        assert found.first <= failed <= found.last
        assert found.states[0] == "failed"


def test_a_map_of_a_run_that_has_just_begun(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    found = chunk_map(yard, handle)
    assert {cell.state for cell in found.cells} <= {"ahead"}
    assert found.carved == 0


def test_a_map_of_nothing(yard: Yard) -> None:
    with yard.engine.begin() as connection:
        connection.execute(delete(Goods))
    handle = yard.run(touch)
    assert handle.status() is RunStatus.SUCCEEDED
    assert chunk_map(yard, handle).cells == ()


def test_the_series_holds_every_row(yard: Yard) -> None:
    handle = yard.run(bad(3), max_retries=0)  # type: ignore[arg-type]
    with yard.reading() as connection:
        run = yard.ledger.runs.get(connection, handle.id)
        found = yard.ledger.charts.series(connection, run)
    summary = run.summary
    assert summary is not None
    assert sum(point.rows for point in found.points) == summary.rows_done
    assert sum(point.failures for point in found.points) == summary.attempts_failed


def test_the_slowest_chunks(yard: Yard) -> None:
    handle = yard.run(touch)
    with yard.reading() as connection:
        run = yard.ledger.runs.get(connection, handle.id)
        progress = yard.ledger.reports.progress(connection, run)
        found = yard.ledger.charts.slowest(connection, handle.id, progress, limit=2)
    took = sorted((chunk["seconds"] for chunk in yard.rows_of("chunks")), reverse=True)
    assert [chunk.seconds for chunk in found] == took[:2]


def test_a_tag_changes_with_the_run_and_not_without(yard: Yard) -> None:
    def tag() -> str | None:
        with yard.reading() as connection:
            return yard.ledger.charts.tag(connection, handle.id)

    handle = yard.submit(yard.job(bad(3), max_retries=0))  # type: ignore[arg-type]
    seen = [tag()]
    handle.pause()
    seen.append(tag())
    handle.resume()
    seen.append(tag())
    yard.settle(handle)
    seen.append(tag())
    assert len(set(seen)) == len(seen)
    assert tag() == seen[-1], "a run that has ended does not change"
    with yard.reading() as connection:
        assert yard.ledger.charts.tag(connection, handle.id + 1) is None  # type: ignore[arg-type]


def test_a_map_is_what_all_chunks_say(yard: Yard, seed: Random) -> None:
    """Hopping from cell to cell finds what reading every chunk would."""
    handle = yard.submit(yard.job())
    states = ["succeeded"] * 8 + ["failed", "split", "skipped", "cancelled", "waiting", "carved"]
    drawn = seed.choices(states, k=ROWS)
    chunks = yard.ledger.database.schema.chunks
    empty = {"run_id": handle.id, "path": "", "upto": "[1]", "rows": 1, "attempt": 1}
    with yard.engine.begin() as connection:
        connection.execute(
            insert(chunks),
            [
                {**empty, "number": n, "rows_upto": n, "status": status}
                for n, status in enumerate(drawn, 1)
            ],
        )
    for most in (1, 3, 7, 40, ROWS, 2000):
        made = chunk_map(yard, handle, most)
        assert made.carved == ROWS
        for cell in made.cells:
            inside = set(drawn[cell.first - 1 : cell.last]) - {"succeeded"}
            assert set(cell.states) == inside, (most, cell)


@pytest.mark.parametrize("what", ["chunk_map", "tag", "slowest", "series"])
def test_no_picture_reads_all_chunks(yard: Yard, long_run: RunHandle, what: str) -> None:
    run, progress = long_run.record(), long_run.progress()
    charts = yard.ledger.charts
    acts = {
        "chunk_map": lambda connection: charts.chunk_map(connection, run, progress),
        "tag": lambda connection: charts.tag(connection, run.id),
        "slowest": lambda connection: charts.slowest(connection, run.id, progress),
        "series": lambda connection: charts.series(connection, run),
    }
    for plan in plan_of(yard, acts[what]):
        assert "Seq Scan on chunks" not in plan, plan
        assert "SCAN breakbulk_chunks" not in plan, plan
