"""Chunks that do nothing, beside bare connections that commit a single-row UPDATE each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import mean

from sqlalchemy import text

from bench import bare, shop
from bench.figures import Findings
from bench.stage import LANES, Stage

PAIRS = 5
CHUNKS = 17_727
COMMITS = 6_000
MODES = ("transaction", "autocommit")


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure pairs on a quiet database, and behind a transaction that holds back vacuum."""
    chunks = stage.size(CHUNKS)
    stage.narrow(chunks * shop.ROWS_A_CHUNK)
    found = Findings(
        "noop",
        f"{chunks:,} chunks that do nothing in 2 processes, against 2 bare connections that"
        " commit a single-row UPDATE each",
    )
    for pinned in (False, True):
        _measure(stage, found, pairs or PAIRS, pinned=pinned)
    found.notes.append(
        "transaction: BEGIN, UPDATE, COMMIT, as psycopg does; autocommit: one round trip;"
        f" each {stage.size(COMMITS):,} commits right before and right after the chunks"
    )
    return found


def _measure(stage: Stage, found: Findings, pairs: int, *, pinned: bool) -> None:
    where = "pinned" if pinned else "quiet"
    ours: list[float] = []
    bares: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(pairs):
        with pin(stage) if pinned else nullcontext():
            before = [bare_rate(stage, mode, stage.size(COMMITS)) for mode in MODES]
            ours.append(_breakbulk(stage))
            after = [bare_rate(stage, mode, stage.size(COMMITS)) for mode in MODES]
        for mode, *rates in zip(MODES, before, after, strict=True):
            bares[mode].append(mean(rates))
    found.ratios(
        f"{where}: chunks / transactions", ours, bares["transaction"], limit=0.7, at_least=True
    )
    found.ratios(f"{where}: chunks / autocommits", ours, bares["autocommit"])
    found.add(f"{where}: chunks", "/s", ours)
    for mode in MODES:
        found.add(f"{where}: bare, {mode}", "/s", bares[mode])


def _breakbulk(stage: Stage) -> float:
    chunks = stage.size(CHUNKS)
    stage.run("CHECKPOINT")
    with stage.worker():
        return chunks / stage.measure(shop.Nothing(rows=chunks * shop.ROWS_A_CHUNK))


def bare_rate(stage: Stage, mode: str, commits: int) -> float:
    """Commits/s of bare connections, in a mode of `bench.bare`."""
    stage.run(
        f"DROP TABLE IF EXISTS {bare.TABLE}",
        f"CREATE TABLE {bare.TABLE} AS SELECT number AS id, 0 AS changes"
        f" FROM generate_series(0, {commits}) AS number",
        f"ALTER TABLE {bare.TABLE} ADD PRIMARY KEY (id)",
        f"VACUUM ANALYZE {bare.TABLE}",
        "CHECKPOINT",
    )
    return float(stage.python("bench.bare", str(commits), str(LANES), mode))


@contextmanager
def pin(stage: Stage) -> Iterator[None]:
    """Hold a snapshot open, as a nightly dump does."""
    with stage.engine.execution_options(isolation_level="REPEATABLE READ").connect() as connection:
        connection.execute(text("SELECT count(*) FROM narrow_1000"))
        yield
