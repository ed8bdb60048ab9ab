"""A run's pace as a picture that needs no script: points of an SVG path.

Where there is a script it is replaced by a chart that can be read off.
"""

from __future__ import annotations

from dataclasses import dataclass

from breakbulk.domain.series import Series

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True, slots=True)
class Plot:
    """What the template draws, in units of the picture.

    Attributes:
        line: the rate, as a path.
        area: the same, closed below.
        failures: x and height of a bar for each stretch in which something failed.
        peak: the rate at the top, in rows a second.
    """

    line: str
    area: str
    failures: list[tuple[float, float]]
    peak: float


def plot(series: Series) -> Plot | None:
    """Draw it; None while there are no two points to connect, or nothing has happened."""
    moved = any(point.rows or point.failures for point in series.points)
    if len(series.points) < 2 or not moved:  # noqa: PLR2004
        return None
    step = WIDTH / (len(series.points) - 1)
    most = max(1, *(point.rows for point in series.points))
    failed = max(1, *(point.failures for point in series.points))
    corners = [
        f"{n * step:.1f},{HEIGHT - point.rows / most * HEIGHT:.1f}"
        for n, point in enumerate(series.points)
    ]
    line = "M" + " L".join(corners)
    bars = [
        (round(n * step, 1), round(point.failures / failed * HEIGHT / 3, 1))
        for n, point in enumerate(series.points)
        if point.failures
    ]
    return Plot(line, f"{line} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z", bars, series.peak)
