"""Bars and lines as SVG, for pages that need no script and no library.

The colours are read on white and on black: pages are looked at in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.spread import short

Point = tuple[float, float]
_COLOURS = ("#2f7ed8", "#d9822b", "#3d9a50", "#b04a9c", "#8a8a8a")
_INK = "#777"
_WIDTH = 760
_LEFT, _RIGHT, _TOP = 260, 90, 44
_STEP = 26


def bars(title: str, unit: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A bar for each row at the median of its values, with a line from the least to the most.

    Args:
        title: above.
        unit: of the values.
        rows: names and values; one without values is left empty.
    """
    most = max((max(values) for _, values in rows if values), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts = []
    for number, (name, values) in enumerate(rows):
        y = _TOP + number * _STEP
        parts.append(_text(_LEFT - 8, y + 14, name, anchor="end"))
        if not values:
            parts.append(_text(_LEFT + 4, y + 14, "no figure"))
            continue
        low, middle, high = min(values), _median(values), max(values)
        colour = _COLOURS[0] if number % 2 else _COLOURS[4]
        if name.lower().startswith("breakbulk"):
            colour = _COLOURS[1]
        parts.append(
            f'<rect x="{_LEFT}" y="{y + 3}" width="{middle * scale:.1f}" height="15"'
            f' fill="{colour}"/>'
        )
        if high > low:
            x1, x2 = _LEFT + low * scale, _LEFT + high * scale
            parts.append(_line(x1, y + 10.5, x2, y + 10.5))
        words = f"{short(middle)} {unit}".strip()
        parts.append(_text(_LEFT + max(middle, high) * scale + 6, y + 14, words))
    return _picture(title, _TOP + len(rows) * _STEP + 12, parts)


def lines(
    title: str,
    x: str,
    y: str,
    series: Mapping[str, Sequence[Point]],
    *,
    doubling: bool = False,
) -> str:
    """Some series over the same axes, both from 0 on.

    Args:
        title: above.
        x: what goes to the right.
        y: what goes up.
        series: names and points.
        doubling: each step to the right is twice as much.
    """
    points = [point for one in series.values() for point in one]
    height, bottom = 360, 300
    place = math.log2 if doubling else float
    left = min((place(a) for a, _ in points), default=0.0) if doubling else 0.0
    right = max((place(a) for a, _ in points), default=1.0)
    top = max((b for _, b in points), default=1.0) * 1.05 or 1.0
    width = _WIDTH - 70 - 30

    def at(point: Point) -> Point:
        across = (place(point[0]) - left) / ((right - left) or 1.0)
        return 70 + across * width, bottom - point[1] / top * (bottom - _TOP)

    parts = [_line(70, bottom, 70 + width, bottom), _line(70, _TOP, 70, bottom)]
    for share in (0.25, 0.5, 0.75, 1.0):
        level = bottom - share * (bottom - _TOP)
        parts.append(_text(64, level + 4, short(top * share), anchor="end"))
    parts += [
        _text(at((value, 0))[0], bottom + 16, short(value), anchor="middle")
        for value in (sorted({a for a, _ in points})[:12] if doubling else _ticks(right))
    ]
    parts.append(_text(70 + width / 2, bottom + 34, x, anchor="middle"))
    parts.append(_text(70, _TOP - 8, y))
    for number, (name, one) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in map(at, sorted(one)))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, py in map(at, one):
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>')
        parts.append(_text(80 + number * 170, height - 8, name, colour=colour))
    return _picture(title, height, parts)


def _ticks(most: float) -> list[float]:
    return [most * share / 5 for share in range(6)]


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _picture(title: str, height: float, parts: Sequence[str]) -> str:
    body = "\n".join([_text(10, 22, title, size=15), *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}"'
        f' width="{_WIDTH}" height="{height:.0f}" font-family="sans-serif" role="img">\n'
        f"<title>{escape(title)}</title>\n{body}\n</svg>\n"
    )


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"'
        f' text-anchor="{anchor}">{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_INK}"'
        ' stroke-width="1.5"/>'
    )
