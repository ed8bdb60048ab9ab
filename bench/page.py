"""Figures as a page with pictures; nothing but the JSON goes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.drawing import bars, lines
from bench.figures import judged
from bench.origin import about
from bench.spread import short

Results = Mapping[str, Any]


def write(path: Path, results: Results) -> None:
    """Write the page and its pictures beside a JSON file."""
    path.with_suffix(".md").write_text(markdown(results, path.stem), encoding="utf-8")
    for name, picture in pictures(results, path.stem).items():
        path.with_name(name).write_text(picture, encoding="utf-8")


def markdown(results: Results, stem: str) -> str:
    """Return the page."""
    parts = ["# Measured", "Generated from the JSON beside it; do not edit.", about(results)]
    for found in results["findings"]:
        parts += [f"## {found['name']}", f"{found['about']}.", _table(found)]
        parts += [
            f"![{picture['title']}]({_file(stem, found, name)})"
            for name, picture in found["pictures"].items()
        ]
        if found["notes"]:
            parts.append("\n".join(f"* {note}" for note in found["notes"]))
    return "\n\n".join(parts) + "\n"


def pictures(results: Results, stem: str) -> dict[str, str]:
    """Return the pictures by the names of their files."""
    return {
        _file(stem, found, name): bars(**told) if "rows" in told else lines(**told)
        for found in results["findings"]
        for name, told in found["pictures"].items()
    }


def _file(stem: str, found: Mapping[str, Any], name: str) -> str:
    return f"{stem}-{found['name']}-{name}.svg"


def _table(found: Mapping[str, Any]) -> str:
    lines_ = ["| what | median | least | most | runs | to reach |", "|" + " --- |" * 6]
    for one in found["figures"]:
        middle, *ends = (
            f"{short(value)} {one['unit']}".strip()
            for value in (one["median"], min(one["values"]), max(one["values"]))
        )
        if one["interval"]:
            middle += " [{}, {}]".format(*map(short, one["interval"]))
        bound = ""
        if one["limit"] is not None:
            side = "at least" if one["at_least"] else "at most"
            # What was measured before there was a choice was judged by its median.
            bound = f"{judged(each=one.get('each', False))} {side} {one['limit']:g} {one['unit']}"
            bound = bound.strip()
            bound = bound if one["met"] else f"**missed** {bound}"
        runs = len(one["values"]) if len(one["values"]) > 1 else "once"
        lines_.append(f"| {one['name']} | {middle} | {' | '.join(ends)} | {runs} | {bound} |")
    return "\n".join(lines_)
