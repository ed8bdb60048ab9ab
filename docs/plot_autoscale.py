"""Draw what ``breakbulk demo --autoscale --record FILE`` has recorded: backlog, nodes, throughput.

``python -m docs.plot_autoscale`` draws ``docs/images/autoscale.jsonl`` as ``autoscale.svg`` beside
it. A test fails when the picture is not what this program would draw.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "images" / "autoscale.jsonl"
PICTURE = RECORD.with_suffix(".svg")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _GAP, _TOP = 720, 110, 70, 20, 34, 24
_STYLE = (
    "text{font:12px sans-serif;fill:#555}.t{font-weight:bold;fill:#222}"
    ".f{fill:none;stroke:#bbb}.l{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#aaa}.t{fill:#ddd}.f{stroke:#555}}"
)


def main() -> None:
    """Draw it anew."""
    PICTURE.write_text(drawn(RECORD.read_text(encoding="utf-8")), encoding="utf-8")


def drawn(record: str) -> str:
    """The picture of a record: three curves over the same time."""
    turns = [turn for turn in map(json.loads, record.splitlines()) if "at" in turn]
    begin, end = turns[0]["at"], turns[-1]["at"]
    panels = (
        ("Backlog, seconds of work for one slot", [("backlog_seconds", "#c0392b", False)]),
        (
            "Nodes: wanted, and at work (thin)",
            [("nodes", "#2471a3", True), ("ready", "#85c1e9", True)],
        ),
        ("Rows a second", [("rows_per_second", "#1e8449", False)]),
    )
    parts = []
    for place, (title, curves) in enumerate(panels):
        top = _TOP + place * (_HEIGHT + _GAP)
        most = max(1.0, *(turn[name] for turn in turns for name, _, _ in curves))
        parts += _frame(title, top, most)
        for name, colour, steps in curves:
            points = [(_x(turn["at"], begin, end), _y(turn[name], most, top)) for turn in turns]
            width = ' style="stroke-width:1"' if name == "ready" else ""
            parts.append(
                f'<path class="l" stroke="{colour}"{width} d="{_path(points, steps=steps)}"/>'
            )
    bottom = _TOP + len(panels) * (_HEIGHT + _GAP)
    seconds = f"{end - begin:.0f} s"
    parts += [
        f'<text x="{_LEFT}" y="{bottom - 14}">0 s</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{bottom - 14}" text-anchor="end">{seconds}</text>',
    ]
    whole = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{bottom}"'
    view = f'viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {bottom}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {whole} {view} role="img">'
    title = "<title>Backlog, nodes and throughput of a demo run that scales its workers</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _frame(title: str, top: float, most: float) -> list[str]:
    return [
        f'<text class="t" x="{_LEFT}" y="{top - 6}">{title}</text>',
        f'<rect class="f" x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{top + _HEIGHT}" text-anchor="end">0</text>',
    ]


def _x(at: float, begin: float, end: float) -> float:
    return _LEFT + _WIDTH * (at - begin) / max(end - begin, 1e-9)


def _y(value: float, most: float, top: float) -> float:
    return top + _HEIGHT * (1 - value / most)


def _path(points: list[tuple[float, float]], *, steps: bool) -> str:
    words: list[Any] = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for x, y in points[1:]:
        # What was decided holds until the next decision.
        words.append(f"H{x:.1f} V{y:.1f}" if steps else f"L{x:.1f},{y:.1f}")
    return " ".join(words)


if __name__ == "__main__":
    main()
