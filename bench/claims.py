"""Whether claiming slows down: 200,000 chunks, also behind a transaction that holds back vacuum."""

from __future__ import annotations

from bench import shop
from bench.figures import Findings
from bench.noop import bare_rate, pin
from bench.stage import Stage

CHUNKS = 200_000
QUIET, PINNED = 1, 3
"""How often a run takes place; the one that has a target is not left to chance."""
PARTS = 10
#: Chunks/s in each part of the run, the parts being of equally many chunks in the order of ends.
_RATES = f"""
SELECT (count(*) - 1) / extract(epoch FROM max(ended_at) - min(ended_at)) AS rate
FROM (
    SELECT ended_at, ntile({PARTS}) OVER (ORDER BY ended_at) AS part
    FROM breakbulk.chunks WHERE run_id = (SELECT max(id) FROM breakbulk.runs)
) AS ends
GROUP BY part ORDER BY part
"""


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure behind a pinned snapshot, and on a quiet database, there beside the bare loop."""
    chunks = stage.size(CHUNKS)
    stage.narrow(chunks * shop.ROWS_A_CHUNK)
    found = Findings(
        "claims",
        f"{chunks:,} chunks that do nothing in 2 processes, by tenths of the run; beside 2 bare"
        f" connections that commit {chunks:,} single-row UPDATEs",
    )
    rates: dict[str, list[list[float]]] = {"quiet": [], "pinned": []}
    bares = []
    for number in range(pairs or PINNED):
        if number < (pairs or QUIET):
            bares.append(bare_rate(stage, "transaction", chunks))
            rates["quiet"].append(_run(stage, chunks))
        with pin(stage):
            rates["pinned"].append(_run(stage, chunks))
    for where, runs in rates.items():
        found.add(
            f"{where}: last tenth / first tenth",
            "",
            [run[-1] / run[0] for run in runs],
            **({"limit": 0.9, "at_least": True} if where == "pinned" else {}),
        )
        found.add(f"{where}: chunks", "/s", [_mean(run) for run in runs])
    found.ratios("quiet: chunks / transactions", [_mean(run) for run in rates["quiet"]], bares)
    found.add("bare transactions", "/s", bares)
    found.lines(
        "rate",
        title=f"{chunks:,} chunks that do nothing",
        x="tenth of the run",
        y="chunks/s",
        series={
            where: [(float(part), rate) for part, rate in enumerate(runs[-1], 1)]
            for where, runs in rates.items()
        },
    )
    return found


def _run(stage: Stage, chunks: int) -> list[float]:
    """Chunks/s in each tenth."""
    stage.run("CHECKPOINT")
    with stage.worker():
        stage.measure(shop.Nothing(rows=chunks * shop.ROWS_A_CHUNK))
    return [float(rate) for (rate,) in stage.rows(_RATES)]


def _mean(rates: list[float]) -> float:
    """Of parts with equally many chunks."""
    return len(rates) / sum(1 / rate for rate in rates)
