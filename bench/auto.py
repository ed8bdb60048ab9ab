"""Chunks that size themselves, while what a row costs drifts by a factor of 100 along the key."""

from __future__ import annotations

from dataclasses import dataclass

from bench import crowd
from bench.figures import Findings
from bench.lanes import at_work, crew
from bench.stage import Stage

LANES = (2, 8)
PAIRS = 1
NEAR = 0.9
"""Of the chunks that are in stride, the part that is to take half to twice the target."""
ROWS = 200_000
#: Seconds of work for each lane; to wait is all that it is.
SECONDS = 40.0
#: The exponent of 100 by how far along the key a row is, from 0 to 1.
SHAPES = {
    "rising": "x",
    "falling": "1 - x",
    "waves": "(1 - cos(4 * pi() * x)) / 2",
}
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chunks of one run took.

    Attributes:
        near: the part of all chunks that took half to twice the target.
        near_in_stride: the same, from the first chunk on that took half of it.
        time_off: the part of the whole time that went into the others.
        longest, shortest: against the target; the shortest but for the way up, and the last one.
    """

    near: float
    near_in_stride: float
    time_off: float
    longest: float
    shortest: float

    @classmethod
    def of(cls, seconds: list[float]) -> Seen:
        """Judge chunks in the order of keys; the last one has what is left, and is left out."""
        body = [one / crowd.TARGET for one in seconds[:-1]]
        first = next(place for place, one in enumerate(body) if one >= 0.5)
        stride = body[first:]
        return cls(
            near=sum(map(_is_near, body)) / len(body),
            near_in_stride=sum(map(_is_near, stride)) / len(stride),
            time_off=sum(one for one in body if not _is_near(one)) / sum(body),
            longest=max(body),
            shortest=min(stride),
        )


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure each drift with each number of lanes, one after the other."""
    rows = ROWS // 10 if stage.quick else ROWS
    found = Findings(
        "auto",
        f"{rows:,} rows, of which the dearest cost 100 times the cheapest, with"
        f" chunk_seconds={crowd.TARGET}; their work is to wait",
    )
    for lanes in stage.lanes or LANES:
        for shape, exponent in SHAPES.items():
            _build(stage, shape, exponent, lanes, rows)
            each = [Seen.of(_seconds(stage, shape, lanes)) for _ in range(pairs or PAIRS)]
            name = f"{shape}, {lanes} lanes"
            found.add(f"{name}: chunks within a factor of two", "", [one.near for one in each])
            near = [one.near_in_stride for one in each]
            found.add(f"{name}: the same once in stride", "", near, limit=NEAR, at_least=True)
            found.add(f"{name}: time in the others", "", [one.time_off for one in each])
            found.add(f"{name}: longest / target", "x", [one.longest for one in each], limit=2)
            found.add(f"{name}: shortest in stride / target", "x", [one.shortest for one in each])
    found.notes.append(
        "in stride: from the first chunk on that took half the target; before it are the doublings"
        " from ten rows on. The last chunk, which has what is left, is not counted"
    )
    return found


def _is_near(part: float) -> bool:
    return 0.5 <= part <= 2


def _build(stage: Stage, shape: str, exponent: str, lanes: int, rows: int) -> None:
    """Make the rows, which together cost the lanes the seconds that they have."""
    table = crowd.drifting(shape, lanes)
    table.create(stage.engine)
    seconds = lanes * (SECONDS / 5 if stage.quick else SECONDS)
    stage.run(
        f"INSERT INTO {table.name} SELECT id, power(100, {exponent}) FROM"
        f" (SELECT id, CAST(id AS double precision) / {rows} AS x"
        f" FROM generate_series(1, {rows}) AS id) AS keys",
        f"UPDATE {table.name} SET cost = cost * {seconds} / (SELECT sum(cost) FROM {table.name})",
        f"VACUUM ANALYZE {table.name}",
    )


def _seconds(stage: Stage, shape: str, lanes: int) -> list[float]:
    """What each chunk of a run took, in the order of keys."""
    with crew(lanes) as worker, at_work(stage, worker, lanes):
        # mypy sees no parameters where the decorator is a method.
        job = crowd.Drift(shape=shape, lanes=lanes)  # type: ignore[call-arg]
        run = crowd.bulk.submit(job, overlap="allow")
        run.wait(timeout=_PATIENCE).raise_for_status()
    query = f"SELECT seconds FROM breakbulk.chunks WHERE run_id = {run.id} ORDER BY number"
    return [float(row.seconds) for row in stage.rows(query)]
