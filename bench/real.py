"""The real job over the catalogue, beside a hand-written loop that calls the same work function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import catalogue, shop
from bench.cpu import Meter, postmaster
from bench.figures import Findings
from bench.stage import Stage

PAIRS = 9


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
    rows = stage.products(stage.size(catalogue.ROWS))
    ways: dict[str, Callable[[], Cost]] = {
        "Breakbulk": lambda: _breakbulk(stage),
        "loop": lambda: _elsewhere(stage, "bench.loop", rows),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(pairs or PAIRS):
        names = list(ways)
        for name in names if number % 2 else names[::-1]:
            costs[name].append(ways[name]())
    found = Findings("real", f"{rows:,} products in chunks of 500, against a hand-written Pool(2)")
    ours, loop = costs["Breakbulk"], costs["loop"]
    seconds = {name: [cost.seconds for cost in each] for name, each in costs.items()}
    found.ratios("wall clock, Breakbulk / loop", seconds["Breakbulk"], seconds["loop"], limit=1.05)
    found.ratios(
        "CPU, workers and PostgreSQL, Breakbulk / loop",
        [cost.cpu for cost in ours],
        [cost.cpu for cost in loop],
        limit=1.08,
    )
    for name, each in costs.items():
        found.add(f"{name}: wall clock", "s", [cost.seconds for cost in each])
        found.add(f"{name}: CPU of workers", "s", [cost.worker for cost in each])
        found.add(f"{name}: CPU of PostgreSQL", "s", [cost.database for cost in each])
    found.bars("seconds", title="The real job", unit="s", rows=list(seconds.items()))
    found.notes.append("after each of them every product had been changed exactly once")
    return found


def _breakbulk(stage: Stage) -> Cost:
    stage.fresh_products()
    with stage.worker() as worker:
        meter = Meter(worker, postmaster(stage.url))
        seconds = stage.measure(shop.Score())
        cost = Cost(seconds, *meter.read())
    prove(stage)
    return cost


def _elsewhere(stage: Stage, module: str, rows: int) -> Cost:
    stage.fresh_products()
    cost = Cost(**stage.python(module, str(rows)))
    prove(stage)
    return cost


def prove(stage: Stage) -> None:
    """See that every product was changed exactly once.

    Raises:
        RuntimeError: some were not.
    """
    wrong = stage.ask("SELECT count(*) FROM product WHERE changes <> 1")
    if wrong:
        raise RuntimeError(f"{wrong} products were not changed exactly once.")
