"""What a run takes at both ends: until its first chunk is at work, and after its last one.

Nobody waits for the middle of a long run, but everybody does for a short one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import text

from bench import shop
from bench.figures import Findings
from bench.stage import LANES, Stage
from breakbulk.app import RunHandle
from breakbulk.errors import StateError

PAIRS = 25
SMALL = 1_000
#: Rows of the runs that are followed to their end: a hundred chunks.
WHOLE = 50_000
_LOOK_SECONDS = 0.002
_PATIENCE_SECONDS = 60.0
_MOMENT = text("SELECT at FROM moments WHERE run = :run AND name = :name")


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Submit to idle workers, again and again, at moments that have nothing to do with theirs."""
    times = max(pairs or 0, PAIRS)
    large = stage.size(stage.large)
    for rows in (SMALL, WHOLE, large):
        stage.narrow(rows)
    stage.run("DROP TABLE IF EXISTS moments", f"CREATE TABLE {shop.MOMENTS}")
    chance = random.Random(1773)
    firsts: dict[int, list[float]] = {SMALL: [], large: []}
    ends: dict[str, list[float]] = {"callback": [], "ended": [], "noticed": []}
    with stage.worker():
        for rows in (*firsts, WHOLE):
            _to_first(stage, rows)  # every process has compiled its statements by then
        for _ in range(times):
            for rows, seen in firsts.items():
                _pause(stage, chance)
                seen.append(_to_first(stage, rows) * 1000)
            _pause(stage, chance)
            for name, seconds in _to_end(stage).items():
                ends[name].append(seconds * 1000)
    found = Findings(
        "latency", f"idle workers, {LANES} processes; {WHOLE // 500:,} chunks that do nothing"
    )
    for rows, each in firsts.items():
        found.add(f"submit to first chunk at work, {rows:,} rows", "ms", each, limit=100)
    found.add("last chunk done to finished() called", "ms", ends["callback"], limit=50)
    found.add("finished() called to the run's end", "ms", ends["ended"])
    found.add("the run's end to wait() returning", "ms", ends["noticed"])
    found.notes.append(
        "from the call of submit(); the last chunk is done with its mark, before its COMMIT"
    )
    return found


def _to_first(stage: Stage, rows: int) -> float:
    """Seconds from the call of submit to that of process for the first chunk."""
    began = time.time()
    run = stage.bulk.submit(shop.Timed(rows=rows), overlap="allow")
    _until(lambda: _moment(stage, run, shop.FIRST) is not None)
    first = _moment(stage, run, shop.FIRST)
    assert first is not None
    with suppress(StateError):
        run.cancel()  # unless it has ended by now
    run.wait(timeout=_PATIENCE_SECONDS)
    return first - began


def _to_end(stage: Stage) -> dict[str, float]:
    """Seconds of each part of a run's end."""
    run = stage.bulk.submit(shop.Timed(rows=WHOLE), overlap="allow")
    run.wait(timeout=_PATIENCE_SECONDS).raise_for_status()
    noticed = time.time()
    called, ended = _moment(stage, run, shop.LAST), run.record().finished_at
    last: Any = stage.ask(
        "SELECT max(ended_at) FROM breakbulk.chunks WHERE run_id = :run", run=run.id
    )
    assert called is not None
    assert ended is not None
    return {
        "callback": called - last.timestamp(),
        "ended": ended.timestamp() - called,
        "noticed": noticed - ended.timestamp(),
    }


def _moment(stage: Stage, run: RunHandle, name: str) -> float | None:
    with stage.bulk.runtime.database.reading() as connection:
        found: float | None = connection.execute(_MOMENT, {"run": run.id, "name": name}).scalar()
    return found


def _pause(stage: Stage, chance: random.Random) -> None:
    """Let the workers come to rest, and wait for no moment in particular."""
    _until(lambda: not stage.ask("SELECT count(*) FROM breakbulk.lanes"))
    time.sleep(chance.uniform(0.2, 0.8))


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError("The workers did not do what they were to.")
        time.sleep(_LOOK_SECONDS)
