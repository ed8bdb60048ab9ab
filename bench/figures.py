"""What a measurement found: medians with their spread, and whether a target was met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """The same thing measured several times.

    Attributes:
        name: what was measured.
        unit: of the values; empty for a ratio.
        values: one for each repetition, in order.
        limit: the target for the median, if there is one.
        at_least: the target is a lower bound and not an upper one.
    """

    name: str
    unit: str
    values: Sequence[float]
    limit: float | None = None
    at_least: bool = False

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps to the target; None when there is none."""
        if self.limit is None:
            return None
        return self.median >= self.limit if self.at_least else self.median <= self.limit

    def __str__(self) -> str:
        low, high = _short(min(self.values)), _short(max(self.values))
        spread = f"  ({low} to {high}, n={len(self.values)})" if len(self.values) > 1 else ""
        line = f"{self.name:<44} {_short(self.median):>9} {self.unit:<9}{spread}"
        if self.limit is None:
            return line.rstrip()
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "MISSED"
        return f"{line}  target: {bound} {self.limit:g}: {verdict}"


@dataclass(slots=True)
class Findings:
    """All figures of one measurement.

    Attributes:
        name: the measurement's.
        about: one sentence that says what was compared.
        figures: in the order to be read.
        notes: what the figures do not say.
    """

    name: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, unit: str, values: Sequence[float], **target: Any) -> None:
        """Add a figure."""
        self.figures.append(Figure(name, unit, list(values), **target))

    def ratios(
        self, name: str, ours: Sequence[float], theirs: Sequence[float], **target: Any
    ) -> None:
        """Add the quotients of adjacent measurements, pair by pair."""
        self.add(name, "x", [a / b for a, b in zip(ours, theirs, strict=True)], **target)

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
                {**asdict(figure), "median": figure.median, "met": figure.met}
                for figure in self.figures
            ],
        }


def markdown(machine: str, command: str, findings: Sequence[Findings]) -> str:
    """Findings as a page."""
    lines = ["# Measured", "", f"{machine}. `{command}`. Generated from the JSON beside it.", ""]
    for found in findings:
        lines += [f"## {found.name}", "", f"{found.about}.", ""]
        lines += ["| what | median | least | most | to reach |", "| --- | --- | --- | --- | --- |"]
        for one in found.figures:
            values = (one.median, min(one.values), max(one.values))
            shown = " | ".join(f"{_short(value)} {one.unit}".strip() for value in values)
            bound = "" if one.limit is None else f"{one.limit:g} {one.unit}".strip()
            if one.met is False:
                bound = f"**missed** {bound}"
            lines.append(f"| {one.name} | {shown} | {bound} |")
        lines += ["", *(f"* {note}" for note in found.notes), ""]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
