"""What the table of mutants says, as parts of a page."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MUTANTS = Path(__file__).parent.parent / "tests" / "mutants"


def invariants() -> str:
    """Each invariant with the guards that keep it."""
    parts = []
    for one in _rows("invariant"):
        parts.append(f"### {one['number']}. {one['name']}\n\n{one['says']}")
        lines = ["| guard | without it | red without it | id |", "|---|---|---|---|"]
        others = []
        for guard in _rows("guard"):
            first, *more = guard["keeps"]
            words = (guard["guard"], guard["without"], _tests(guard["tests"]), f"`{guard['id']}`")
            if first == one["number"]:
                lines.append(f"| {' | '.join(words)} |")
            elif one["number"] in more:
                others.append(words[-1])
        parts.append("\n".join(lines))
        if others:
            parts.append(f"These keep it as well: {', '.join(others)}.")
    return "\n\n".join(parts)


def defects() -> str:
    """What went wrong once, and what keeps it from coming back."""
    guards = {guard["id"]: guard for guard in _rows("guard")}
    lines = ["| what happened | cure | tests |", "|---|---|---|"]
    for defect in _rows("defect"):
        cures = [guards[name] for name in defect.get("guards", ())]
        ids = ", ".join(f"`{guard['id']}`" for guard in cures) or f"none: {defect['because']}"
        tests = [test for guard in cures for test in guard["tests"]] + defect.get("tests", [])
        lines.append(f"| {defect['seen']} | {ids} | {_tests(dict.fromkeys(tests))} |")
    return "\n".join(lines)


def _tests(names: Iterable[str]) -> str:
    shown = []
    for name in names:
        file, _, test = name.partition("::")
        link = f"[`{test.replace('|', '')}`](../../{file})"
        if link not in shown:
            shown.append(link)
    return "<br>".join(shown)


def _rows(kind: str) -> list[dict[str, Any]]:
    """What the table of mutants says, file by file."""
    tables = (tomllib.loads(path.read_text("utf-8")) for path in sorted(MUTANTS.glob("*.toml")))
    return [row for one in tables for row in one.get(kind, [])]
