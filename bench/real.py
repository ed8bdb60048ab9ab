"""The real job over the catalogue, beside a hand-written loop with the same work function."""

from __future__ import annotations

from dataclasses import dataclass

from bench import shop
from bench.cpu import Meter, postmaster
from bench.figures import Findings
from bench.stage import Stage

PAIRS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way through all products took, in seconds.

    Attributes:
        seconds: by the clock.
        worker: CPU time of the processes that work, their parent included.
        database: CPU time of all of PostgreSQL's processes.
    """

    seconds: float
    worker: float
    database: float

    @property
    def cpu(self) -> float:
        """All CPU time."""
        return self.worker + self.database


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure pairs, and who goes first takes turns."""
    rows = stage.products()
    ours, loops = [], []
    for number in range(pairs or PAIRS):
        for which in (True, False) if number % 2 else (False, True):
            if which:
                ours.append(_breakbulk(stage))
            else:
                loops.append(_loop(stage, rows))
    found = Findings("real", f"{rows:,} products in chunks of 500, against a hand-written Pool(2)")
    found.ratios(
        "wall clock, Breakbulk / loop",
        [cost.seconds for cost in ours],
        [cost.seconds for cost in loops],
        limit=1.10,
    )
    found.ratios(
        "CPU, workers and PostgreSQL, Breakbulk / loop",
        [cost.cpu for cost in ours],
        [cost.cpu for cost in loops],
        limit=1.15,
    )
    for name, costs in (("Breakbulk", ours), ("loop", loops)):
        found.add(f"{name}: wall clock", "s", [cost.seconds for cost in costs])
        found.add(f"{name}: CPU of workers", "s", [cost.worker for cost in costs])
        found.add(f"{name}: CPU of PostgreSQL", "s", [cost.database for cost in costs])
    found.notes.append("after each of them every product had been changed exactly once")
    return found


def _breakbulk(stage: Stage) -> Cost:
    stage.fresh_products()
    with stage.worker() as worker:
        meter = Meter(worker, postmaster(stage.url))
        seconds = stage.measure(shop.Score())
        cost = Cost(seconds, *meter.read())
    _prove(stage)
    return cost


def _loop(stage: Stage, rows: int) -> Cost:
    stage.fresh_products()
    cost = Cost(**stage.python("bench.loop", str(rows)))
    _prove(stage)
    return cost


def _prove(stage: Stage) -> None:
    wrong = stage.ask("SELECT count(*) FROM product WHERE changes <> 1")
    if wrong:
        raise RuntimeError(f"{wrong} products were not changed exactly once.")
