"""Set-based chunks, beside what the database itself can do: a loop of UPDATEs, and one for all."""

from __future__ import annotations

from collections.abc import Callable

from bench import catalogue, shop
from bench.cpu import Meter, postmaster
from bench.figures import Findings
from bench.real import Cost, prove
from bench.stage import Stage

PAIRS = 5


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Measure them one after another, and who goes first takes turns."""
    rows = stage.products(stage.size(catalogue.ROWS))
    ways: dict[str, Callable[[], Cost]] = {
        "Breakbulk": lambda: _breakbulk(stage),
        "loop": lambda: _loop(stage, rows, "sets"),
        "whole table": lambda: _loop(stage, rows, "whole"),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(pairs or PAIRS):
        names = list(ways)
        for name in names if number % 2 else names[::-1]:
            stage.fresh_products()
            costs[name].append(ways[name]())
            prove(stage)
    found = Findings(
        "sets",
        f"one UPDATE a chunk, by chunk.where, of {rows:,} products in chunks of 500; against a loop"
        " that sends the same UPDATEs over one connection a process, and one UPDATE of the whole"
        " table",
    )
    seconds = {name: [cost.seconds for cost in each] for name, each in costs.items()}
    cpu = {name: [cost.cpu for cost in each] for name, each in costs.items()}
    found.ratios("wall clock, Breakbulk / loop", seconds["Breakbulk"], seconds["loop"], limit=1.10)
    found.ratios("CPU, Breakbulk / loop", cpu["Breakbulk"], cpu["loop"])
    found.ratios("wall clock, loop / whole table", seconds["loop"], seconds["whole table"])
    for name in ways:
        found.add(f"{name}: wall clock", "s", seconds[name])
        found.add(f"{name}: CPU", "s", cpu[name])
    found.bars(
        "seconds", title="One UPDATE a chunk", unit="s", rows=[(one, seconds[one]) for one in ways]
    )
    found.notes.append("after each of them every product had been changed exactly once")
    return found


def _breakbulk(stage: Stage) -> Cost:
    with stage.worker() as worker:
        meter = Meter(worker, postmaster(stage.url))
        return Cost(stage.measure(shop.Rate()), *meter.read())


def _loop(stage: Stage, rows: int, way: str) -> Cost:
    return Cost(**stage.python("bench.loop", str(rows), way))
