"""Nodes, runs and a database that exist only as numbers, for whoever scales them, in no time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from breakbulk.domain.decide import decide
from breakbulk.domain.scaling import Decision, History, Look, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from breakbulk.domain.scaling import Limits

_RATE_SECONDS = 10.0


@dataclass
class SimulatedRun:
    """A run that comes at a time, with so many chunks, and may have a deadline."""

    number: int
    at: float
    chunks: float
    deadline: float | None = None
    done_at: float | None = None
    whole: float = field(init=False)

    def __post_init__(self) -> None:
        self.whole = self.chunks


@dataclass
class Pool:
    """What a controller would see, look after look, and what comes of what it decides.

    Args:
        seconds: what a chunk takes at a time, where nobody is in anybody's way.
        most: chunks a second that the database can do, however many ask it to.
        start: what a node takes to start, in truth.
        deaths: when a node dies, if there is one.
        clock: what the database's clock shows at a time.
    """

    limits: Limits
    runs: list[SimulatedRun]
    seconds: Callable[[float], float] = lambda _at: 1.0
    most: float = math.inf
    start: float = 10.0
    interval: float = 5.0
    deaths: Collection[float] = ()
    clock: Callable[[float], float] = lambda at: at
    now: float = 0.0
    history: History = field(default_factory=History)
    nodes: list[float] = field(default_factory=list)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    _done: list[tuple[float, float]] = field(default_factory=list)
    _pace: float | None = None

    def play(self, seconds: float) -> None:
        """Let that much time pass."""
        until = self.now + seconds
        while self.now < until:
            self.turn()

    def turn(self) -> None:
        """One look, one decision, and what is done until the next look."""
        dead = [at for at in self.deaths if self.now - self.interval < at <= self.now]
        lost = min(len(dead), len(self.nodes))
        self.nodes = self.nodes[lost:]
        look = self.look(lost)
        decision, history = decide(self.limits, self.history, look)
        # What is kept is kept as JSON, and may be taken up by another process at any time.
        self.history = History.from_dict(history.as_dict())
        self.looks.append(look)
        self.decisions.append((self.now, decision))
        if decision.nodes < len(self.nodes):
            self.nodes = self.nodes[: decision.nodes]
        elif decision.starts:
            self.nodes += [self.now + self.start] * (decision.nodes - len(self.nodes))
        self._work()
        self.now += self.interval

    def look(self, lost: int) -> Look:
        """What is seen now."""
        active = self.active()
        lanes = self.lanes()
        done = sum(chunks for at, chunks in self._done if self.now - at <= _RATE_SECONDS)
        work = tuple(self._work_of(run) for run in active)
        rate = done / _RATE_SECONDS
        at = self.clock(self.now)
        return Look(at, len(self.nodes), self.ready(), lanes, rate, "job", work, lost)

    def ready(self) -> int:
        """Nodes that have started."""
        return sum(at <= self.now for at in self.nodes)

    def active(self) -> list[SimulatedRun]:
        """Runs that are there and not done."""
        return [run for run in self.runs if run.at <= self.now and run.done_at is None]

    def lanes(self) -> int:
        """Lanes at work: no more than there are chunks."""
        chunks = sum(math.ceil(run.chunks) for run in self.active())
        return min(self.ready() * self.limits.slots, chunks)

    def _work_of(self, run: SimulatedRun) -> Work:
        left = None if run.deadline is None else run.deadline - self.now
        pace = 1.0 if self._pace is None else self._pace
        chunks = math.ceil(run.chunks)
        return Work(run.number, chunks * pace, chunks, left, self._pace is not None)

    def _work(self) -> None:
        lanes = self.lanes()
        if not lanes:
            return
        alone = self.seconds(self.now)
        rate = min(lanes / alone, self.most)
        self._pace = lanes / rate
        budget = rate * self.interval
        self._done.append((self.now, budget))
        self._done = self._done[-10:]
        # Who has the nearest deadline is not preferred: lanes are shared out evenly.
        while budget > 1e-9 and (active := self.active()):
            share = budget / len(active)
            for run in active:
                taken = min(run.chunks, share)
                run.chunks -= taken
                budget -= taken
                if run.chunks <= 1e-9:
                    run.done_at = self.now + self.interval

    @property
    def changes(self) -> list[tuple[float, int, int]]:
        """When the number of nodes was changed, from what to what; the first look is none."""
        return [
            (at, decision.before, decision.nodes)
            for at, decision in self.decisions[1:]
            if decision.nodes != decision.before
        ]
