"""Whether a slow tail idles lanes: the last tenth of the rows takes a hundred times as long."""

from __future__ import annotations

from bench import crowd
from bench.figures import Findings
from bench.lanes import at_work, crew
from bench.stage import Stage

LANES = 4
PAIRS = 5
ROWS = 20_000
ROW_SECONDS = 0.0001
"""Seconds that one of the quick rows takes."""

_PATIENCE = 300.0
_SLOW_CHUNK = crowd.ROWS_A_CHUNK * crowd.SLOW_TIMES * ROW_SECONDS


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure runs whose lanes take over and runs whose lanes do not, one after the other."""
    found = Findings(
        "tail",
        f"{LANES} lanes whose rows wait for {ROW_SECONDS * 1000:g} ms, the last tenth of them"
        f" {crowd.SLOW_TIMES} times as long: a slow chunk takes {_SLOW_CHUNK:g} s",
    )
    rows = ROWS // 4 if stage.quick else ROWS
    spreads: dict[str, list[tuple[float, float]]] = {"taking over": [], "each on its own": []}
    for _ in range(pairs or PAIRS):
        for way, each in spreads.items():
            each.append(_run(stage, rows, alone=way == "each on its own"))
    for way, each in spreads.items():
        between = [seconds for seconds, _ in each]
        found.add(f"{way}: from the first lane's last end to the last one's", "s", between)
        found.add(
            f"{way}: in slow chunks",
            "",
            [one / _SLOW_CHUNK for one in between],
            limit=1.0 if way == "taking over" else None,
        )
        found.add(f"{way}: all in all", "s", [whole for _, whole in each])
    return found


def _run(stage: Stage, rows: int, *, alone: bool) -> tuple[float, float]:
    """Seconds from the end of the first lane's last chunk to that of the last one's, and in all."""
    stage.narrow(rows)
    environment = {crowd.ALONE: "1"} if alone else {}
    with crew(LANES) as worker, at_work(stage, worker, LANES, **environment):
        run = crowd.bulk.submit(crowd.Skewed(rows=rows, seconds=ROW_SECONDS), overlap="allow")
        run.wait(timeout=_PATIENCE).raise_for_status()
    between = stage.ask(
        "SELECT extract(epoch FROM max(ended) - min(ended)) FROM (SELECT max(ended_at) AS ended"
        " FROM breakbulk.chunks WHERE run_id = :run AND status = 'succeeded'"
        " GROUP BY lane) AS lanes",
        run=run.id,
    )
    summary = run.record().summary
    assert summary is not None
    return float(between), summary.seconds
