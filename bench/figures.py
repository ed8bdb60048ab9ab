"""What a measurement found: medians with their spread, pictures, and whether targets were met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.drawing import Point
from bench.spread import interval, short, within

RATIO = "x"
"""The unit of quotients; their medians are shown with a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The same thing measured several times.

    Attributes:
        name: what was measured.
        unit: of the values; `RATIO` for the quotient of two that were measured side by side.
        values: one for each repetition, in order.
        limit: the target for the median, if there is one.
        at_least: the target is a lower bound and not an upper one.
        each: the target is for each single value, and not for the median.
    """

    name: str
    unit: str
    values: Sequence[float]
    limit: float | None = None
    at_least: bool = False
    each: bool = False

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def once(self) -> bool:
        """Whether it was measured only once, so that nothing is known of its spread."""
        return len(self.values) == 1

    @property
    def met(self) -> bool | None:
        """Whether what is judged keeps to the target; None when there is none."""
        if self.limit is None:
            return None
        judged = self.values if self.each else [self.median]
        return min(judged) >= self.limit if self.at_least else max(judged) <= self.limit

    def __str__(self) -> str:
        low, high = short(min(self.values)), short(max(self.values))
        spread = "  (once)" if self.once else f"  ({low} to {high}, n={len(self.values)})"
        sure = f"  {within(self.values)}" if self.unit == RATIO else ""
        line = f"{self.name:<44} {short(self.median):>9} {self.unit:<9}{spread}{sure}"
        if self.limit is None:
            return line.rstrip()
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "MISSED"
        return f"{line}  target: {judged(each=self.each)} {bound} {self.limit:g}: {verdict}"


def judged(*, each: bool) -> str:
    """What a target is for, as the first word of it."""
    return "each" if each else "median"


@dataclass(slots=True)
class Findings:
    """All figures of one measurement.

    Attributes:
        name: the measurement's.
        about: one sentence that says what was compared.
        figures: in the order to be read.
        notes: what the figures do not say.
        pictures: by their names, what `bench.drawing` is to be told.
    """

    name: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, unit: str, values: Sequence[float], **target: Any) -> None:
        """Add a figure."""
        self.figures.append(Figure(name, unit, list(values), **target))

    def ratios(
        self, name: str, ours: Sequence[float], theirs: Sequence[float], **target: Any
    ) -> None:
        """Add the quotients of adjacent measurements, pair by pair."""
        self.add(name, RATIO, [a / b for a, b in zip(ours, theirs, strict=True)], **target)

    def bars(
        self, name: str, *, title: str, unit: str, rows: Sequence[tuple[str, Sequence[float]]]
    ) -> None:
        """Add a picture with a bar for each row."""
        self.pictures[name] = {"title": title, "unit": unit, "rows": [list(row) for row in rows]}

    def lines(
        self,
        name: str,
        *,
        title: str,
        x: str,
        y: str,
        series: Mapping[str, Sequence[Point]],
        doubling: bool = False,
    ) -> None:
        """Add a picture with a line for each series; see `bench.drawing.lines`."""
        points = {key: [list(point) for point in one] for key, one in series.items()}
        axes = {"title": title, "x": x, "y": y, "doubling": doubling}
        self.pictures[name] = {**axes, "series": points}

    def show(self) -> None:
        """Print everything."""
        print(f"\n{self.name}: {self.about}")
        for line in (*map(str, self.figures), *self.notes):
            print(f"  {line}")

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self),
            "figures": [
                {
                    **asdict(figure),
                    "median": figure.median,
                    "interval": interval(figure.values) if figure.unit == RATIO else None,
                    "met": figure.met,
                    "once": figure.once,
                }
                for figure in self.figures
            ],
        }
