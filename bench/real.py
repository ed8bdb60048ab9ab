"""The real job over the catalogue, beside a hand-written loop and a Celery chord.

All three call the same work function.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """Measure them one after another, and who goes first takes turns."""
    rows = stage.products()
    ways: dict[str, Callable[[], Cost]] = {
        "Breakbulk": lambda: _breakbulk(stage),
        "loop": lambda: _elsewhere(stage, "bench.loop", rows),
        "chord": lambda: _elsewhere(stage, "bench.chord", rows),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(pairs or PAIRS):
        names = list(ways)
        for name in names if number % 2 else names[::-1]:
            costs[name].append(ways[name]())
    found = Findings(
        "real", f"{rows:,} products in chunks of 500, against a hand-written Pool(2) and a chord"
    )
    for name in ("Breakbulk", "chord"):
        # The chord is there to be compared with, not to reach anything.
        wall, cpu = ({"limit": 1.10}, {"limit": 1.15}) if name == "Breakbulk" else ({}, {})
        found.ratios(
            f"wall clock, {name} / loop",
            [cost.seconds for cost in costs[name]],
            [cost.seconds for cost in costs["loop"]],
            **wall,
        )
        found.ratios(
            f"CPU, workers and PostgreSQL, {name} / loop",
            [cost.cpu for cost in costs[name]],
            [cost.cpu for cost in costs["loop"]],
            **cpu,
        )
    for name, each in costs.items():
        found.add(f"{name}: wall clock", "s", [cost.seconds for cost in each])
        found.add(f"{name}: CPU of workers", "s", [cost.worker for cost in each])
        found.add(f"{name}: CPU of PostgreSQL", "s", [cost.database for cost in each])
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


def _elsewhere(stage: Stage, module: str, rows: int) -> Cost:
    stage.fresh_products()
    cost = Cost(**stage.python(module, str(rows)))
    _prove(stage)
    return cost


def _prove(stage: Stage) -> None:
    wrong = stage.ask("SELECT count(*) FROM product WHERE changes <> 1")
    if wrong:
        raise RuntimeError(f"{wrong} products were not changed exactly once.")
