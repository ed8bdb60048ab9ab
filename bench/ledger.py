"""What the ledger takes on disk, and what a billion rows would take, on paper."""

from __future__ import annotations

from bench import shop
from bench.canvas import chord
from bench.canvas_app import BREAKBULK
from bench.figures import Findings
from bench.stage import Stage

CHUNKS = 20_000
FAILING = 2_000
ITEMS = 20_000
RESULTS = 5_000
_BILLION = 1_000_000_000
_CHUNK_SIZE = 500
_GIGABYTE = 10**9
_SIZES = """
SELECT relname::text, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relnamespace = 'breakbulk'::regnamespace AND relkind = 'r'
"""
Sizes = dict[str, tuple[int, int]]


def measure(stage: Stage, _pairs: int | None) -> Findings:
    """Fill the ledger in four ways and see how much it has grown. Sizes need no repetition."""
    chunks, failing = stage.size(CHUNKS), stage.size(FAILING) * 2
    for count in (chunks, failing):
        stage.narrow(count * shop.ROWS_A_CHUNK)
    found = Findings("ledger", "bytes of the ledger's tables and indexes, as they are after a run")
    with stage.worker():
        wal = _wal(stage)
        grown = _growth(stage, lambda: stage.measure(shop.Nothing(rows=chunks * shop.ROWS_A_CHUNK)))
        wal = (_wal(stage) - wal) / chunks
        each = _tell(found, "a chunk", grown, chunks, ("chunks", "tallies", "stays"))
        found.add("write-ahead log a chunk", "bytes", [wal])
        grown = _growth(stage, lambda: stage.settle(shop.Fail(rows=failing * shop.ROWS_A_CHUNK)))
        _tell(found, "a failed attempt", grown, failing // 2, ("failures", "failure_tallies"))
        items = stage.size(ITEMS)
        grown = _growth(stage, lambda: stage.measure(shop.Listed(items=items)))
        _tell(found, "an item of an iterable", grown, items, ("items",))
    results = stage.size(RESULTS)
    grown = _growth(stage, lambda: chord(stage, BREAKBULK, results))
    tables = ("items", "results", "item_states", "chunks")
    _tell(found, "a part of a canvas", grown, results, tables)
    number = _BILLION // _CHUNK_SIZE
    found.notes.append(
        f"on paper: {_BILLION:,} rows in chunks of {_CHUNK_SIZE} are {number:,} chunks,"
        f" {number * each / _GIGABYTE:.2f} GB of ledger and {number * wal / _GIGABYTE:.1f} GB of"
        " write-ahead log for it; what the rows themselves take is your tables'"
    )
    return found


def _growth(stage: Stage, do: object) -> Sizes:
    before = _sizes(stage)
    assert callable(do)
    do()
    stage.run("VACUUM")
    after = _sizes(stage)
    return {
        name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after
    }


def _tell(found: Findings, what: str, grown: Sizes, count: int, tables: tuple[str, ...]) -> float:
    """Add the tables' bytes, and the sum; return the sum."""
    for table in tables:
        own, indexes = grown[table]
        found.add(f"{what}: {table}", "bytes", [own / count])
        found.add(f"{what}: indexes of {table}", "bytes", [indexes / count])
    total = sum(sum(grown[table]) for table in tables) / count
    found.add(f"{what}: all of these", "bytes", [total])
    return total


def _sizes(stage: Stage) -> Sizes:
    return {str(name): (int(own), int(indexes)) for name, own, indexes in stage.rows(_SIZES)}


def _wal(stage: Stage) -> float:
    return float(stage.ask("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))
