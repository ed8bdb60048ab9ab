"""Whether a slow tail idles lanes: the last tenth of the rows takes a hundred times as long.

First with a fixed number of lanes and chunks that are never worth sharing out. Then with few large
chunks, at whose tail another worker joins: it brings more lanes than there are chunks left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench import crowd
from bench.figures import Findings
from bench.lanes import at_work, crew
from bench.stage import Stage
from breakbulk import RunHandle

LANES = 4
PAIRS = 5
ROWS = 20_000
ROW_SECONDS = 0.0001
"""Seconds that one of the quick rows takes."""

JOINING = 12
"""Lanes that come at the tail."""
JOINED_PAIRS = 3
JOINED_ROWS = 2_000
JOINED_ROW_SECONDS = 0.003
"""What makes a slow chunk of 3 s."""

_LEFT = 3 * LANES
"""The others come once so many chunks are not done: one in hand, and two more for each lane."""
_LOOK_SECONDS = 0.05
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended.

    Attributes:
        between: seconds from the end of the first lane's last chunk to that of the last one's.
        whole: seconds in all.
        shared: chunks that were shared out.
        after: seconds from the coming of more lanes to the end; 0 where none came.
    """

    between: float
    whole: float
    shared: int
    after: float = 0.0


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure each way of ending in turn, first with a fixed number of lanes."""
    slow, large = map(_slow_chunk, (ROW_SECONDS, JOINED_ROW_SECONDS))
    found = Findings(
        "tail",
        f"{LANES} lanes whose rows wait for {ROW_SECONDS * 1000:g} ms, the last tenth of them"
        f" {crowd.SLOW_TIMES} times as long: a slow chunk takes {slow:g} s; joined: rows that wait"
        f" for {JOINED_ROW_SECONDS * 1000:g} ms, so that it takes {large:g} s, and {JOINING} more"
        f" lanes come when {_LEFT} chunks are left",
    )
    rows = ROWS // 4 if stage.quick else ROWS
    ends: dict[str, list[End]] = {"taking over": [], "each on its own": []}
    for _ in range(pairs or PAIRS):
        for way, each in ends.items():
            each.append(_run(stage, rows, alone=way == "each on its own"))
    for way, each in ends.items():
        _add_spread(found, way, each, slow, bound=way == "taking over")
    joined: dict[str, list[End]] = {"joined, sharing out": [], "joined, chunks left whole": []}
    for _ in range(pairs or JOINED_PAIRS):
        for way, each in joined.items():
            each.append(_run_joined(stage, whole=way == "joined, chunks left whole"))
    for way, each in joined.items():
        sharing = way == "joined, sharing out"
        _add_spread(found, way, each, large, bound=sharing)
        found.add(f"{way}: from the others' coming to the end", "s", [one.after for one in each])
        target = {"limit": 1, "at_least": True} if sharing else {}
        found.add(f"{way}: shared out", "chunks", [one.shared for one in each], **target)
    return found


def _add_spread(found: Findings, way: str, ends: list[End], slow: float, *, bound: bool) -> None:
    between = [one.between for one in ends]
    found.add(f"{way}: from the first lane's last end to the last one's", "s", between)
    parts, limit = [one / slow for one in between], 1.0 if bound else None
    found.add(f"{way}: in slow chunks", "", parts, limit=limit)
    found.add(f"{way}: all in all", "s", [one.whole for one in ends])


def _slow_chunk(row_seconds: float) -> float:
    return crowd.ROWS_A_CHUNK * crowd.SLOW_TIMES * row_seconds


def _run(stage: Stage, rows: int, *, alone: bool) -> End:
    """Let a fixed number of lanes work."""
    stage.narrow(rows)
    environment = {crowd.ALONE: "1"} if alone else {}
    with crew(LANES) as worker, at_work(stage, worker, LANES, **environment):
        # mypy sees no parameters where the decorator is a method.
        job = crowd.Skewed(rows=rows, seconds=ROW_SECONDS)  # type: ignore[call-arg]
        run = crowd.bulk.submit(job, overlap="allow")
        run.wait(timeout=_PATIENCE).raise_for_status()
    return _end(stage, run)


def _run_joined(stage: Stage, *, whole: bool) -> End:
    """Let another worker come when the first one has only a few slow chunks left."""
    stage.narrow(JOINED_ROWS)
    environment = {crowd.WHOLE: "1"} if whole else {}
    with crew(LANES) as worker, at_work(stage, worker, LANES, **environment):
        # As above.
        job = crowd.Skewed(rows=JOINED_ROWS, seconds=JOINED_ROW_SECONDS)  # type: ignore[call-arg]
        run = crowd.bulk.submit(job, overlap="allow")
        _until_few_are_left(stage, run)
        with crew(JOINING) as other, at_work(stage, other, JOINING, **environment):
            came_at = time.time()
            run.wait(timeout=_PATIENCE).raise_for_status()
    ended = run.record().finished_at
    assert ended is not None
    return _end(stage, run, after=max(0.0, ended.timestamp() - came_at))


def _until_few_are_left(stage: Stage, run: RunHandle) -> None:
    """Wait until everything is carved, and little of it is not done."""
    deadline = time.monotonic() + _PATIENCE
    query = (
        "SELECT exhausted_at IS NOT NULL AND (SELECT count(*) FROM breakbulk.chunks"
        f" WHERE run_id = :run AND status = 'carved') <= {_LEFT}"
        " FROM breakbulk.carves WHERE run_id = :run"
    )
    while not stage.ask(query, run=run.id):
        if time.monotonic() > deadline:
            raise RuntimeError("The run does not come to its tail.")
        time.sleep(_LOOK_SECONDS)


def _end(stage: Stage, run: RunHandle, *, after: float = 0.0) -> End:
    between = stage.ask(
        "SELECT extract(epoch FROM max(ended) - min(ended)) FROM (SELECT max(ended_at) AS ended"
        " FROM breakbulk.chunks WHERE run_id = :run AND status = 'succeeded'"
        " GROUP BY lane) AS lanes",
        run=run.id,
    )
    # Nothing fails here, so nothing is split for any other reason.
    shared = stage.ask(
        "SELECT count(*) FROM breakbulk.chunks WHERE run_id = :run AND status = 'split'",
        run=run.id,
    )
    summary = run.record().summary
    assert summary is not None
    return End(float(between), summary.seconds, int(shared), after)
