"""What a job costs the application beside it: none, one that takes what it gets, a governed one."""

from __future__ import annotations

import time
from typing import Any

from bench import foreground, shop
from bench.figures import Findings
from bench.stage import Stage
from breakbulk.domain.status import FINISHED

PAIRS = 5
ROWS = 5_000_000
SECONDS = 15.0
#: What the governed job may: as many rows a second, and only while the application is not waiting.
LIMITS: dict[str, Any] = {"max_rows_per_second": 20_000, "max_lock_waits": 1}
_DONE_LATELY = (
    "SELECT coalesce(sum(rows), 0) FROM breakbulk.chunks WHERE run_id = :run"
    " AND status = 'succeeded' AND ended_at > clock_timestamp() - make_interval(secs => :seconds)"
)
_SOON = 60.0
_LOOK_SECONDS = 0.05


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure in turns; the last of three is governed."""
    rows = ROWS // 10 if stage.quick else ROWS
    stage.narrow(rows)
    seen: dict[str, list[dict[str, float]]] = {"no job": [], "ungoverned": [], "governed": []}
    with stage.worker():
        for _ in range(pairs or PAIRS):
            seen["no job"].append(_beside(stage, rows))
            seen["ungoverned"].append(_beside(stage, rows, {}))
            seen["governed"].append(_beside(stage, rows, LIMITS))
    rate = foreground.RATE * foreground.CONNECTIONS
    found = Findings(
        "gentle",
        f"{rate} transactions/s on {foreground.HOT:,} hot rows, beside a job that updates all"
        f" {rows:,} rows of the same table",
    )
    p99 = {name: [one["p99"] for one in looks] for name, looks in seen.items()}
    for name, values in p99.items():
        found.add(f"p99 of the application, {name}", "ms", values)
    found.ratios("p99: ungoverned / no job", p99["ungoverned"], p99["no job"])
    found.ratios("p99: governed / no job", p99["governed"], p99["no job"])
    found.ratios("p99: governed / ungoverned", p99["governed"], p99["ungoverned"])
    for name in ("no job", "ungoverned", "governed"):
        found.add(f"median of the application, {name}", "ms", [one["p50"] for one in seen[name]])
    for name in ("ungoverned", "governed"):
        found.add(f"rows of the job, {name}", "/s", [one["rows"] for one in seen[name]])
    cap = LIMITS["max_rows_per_second"]
    kept = [one["rows"] / cap for one in seen["governed"]]
    found.add("rows of the governed job / its cap", "x", kept)
    held = [one["held"] for one in seen["governed"]]
    found.add("times that the governed job held back", "", held)
    limits = " and ".join(f"{name}={value:,}" for name, value in LIMITS.items())
    found.notes.append(f"governed: {limits}; below its cap only as far as it held back")
    return found


def _beside(stage: Stage, rows: int, limits: dict[str, Any] | None = None) -> dict[str, float]:
    """Latencies beside a job under some limits; None: beside none."""
    table, seconds = shop.narrow(rows).name, SECONDS / 5 if stage.quick else SECONDS
    stage.run(f"VACUUM ANALYZE {table}", "CHECKPOINT")
    arguments = (table, str(rows), str(seconds))
    if limits is None:
        alone: dict[str, float] = stage.python("bench.foreground", *arguments)
        return alone
    run = stage.bulk.submit(shop.Touch(rows=rows), overlap="allow", **limits)
    deadline = time.monotonic() + _SOON
    # In its stride: what a cap needs in lanes is known after a look or two.
    while run.progress().elapsed < 2 * stage.bulk.runtime.settings.throttle_seconds + 2:
        if time.monotonic() > deadline:
            raise RuntimeError("The job did not begin.")
        time.sleep(_LOOK_SECONDS)
    beside: dict[str, float] = stage.python("bench.foreground", *arguments)
    done = stage.ask(_DONE_LATELY, run=run.id, seconds=seconds)
    if run.progress().rows_done >= rows and not stage.quick:
        raise RuntimeError("The job was over before the application was: it needs more rows.")
    if run.status() not in FINISHED:
        run.cancel()
    run.wait(timeout=_SOON)
    held = sum(one.verb == "throttled" for one in run.activity())
    return {**beside, "rows": float(done) / seconds, "held": held}
