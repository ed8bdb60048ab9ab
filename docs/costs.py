"""What Breakbulk costs, in the README and in ``docs/explanation/costs.md``: as it was measured.

Like `docs.at_scale`: whatever is not in a file of results is said to be missing, with the command
that measures it. What is counted and not timed comes from ``bench/budget.toml``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers.roster import CHORD, LOOP, OURS
from bench.spread import short
from docs.at_scale import Measured

_BENCH = Path(__file__).parent.parent / "bench"
COMPARED = _BENCH / "results" / "chord.json"
_BUDGETS = tomllib.loads((_BENCH / "budget.toml").read_text("utf-8"))
_BUDGET, _IDLE = _BUDGETS["chunk"], _BUDGETS["idle"]
_NOT_YET = "not yet"
_BILLION = 10**9
_CHUNK_SIZE = 500
_KB, _GB = 10**3, 10**9
_STATEMENTS = "BEGIN, an advisory lock, the done-mark, COMMIT"
_COUNTED = "`bench/budget.toml`, in every test run"
_YOURS = "what your own changes write comes on top, and is far more"
_NUMBERS = "up to 2,147,483,647: with chunks of one row, a billion is still within them"
#: What a row of the chord's table says, and the figures of a run that it is about.
_COMPARED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("the whole job, wall clock", ("seconds",)),
    ("the same, CPU of workers and PostgreSQL", ("workers", "database")),
)


def chord(results: Mapping[str, Any] | None = None) -> str:
    """The same work by hand, by Breakbulk and by Celery's chord, as a table.

    Args:
        results: as ``python -m bench peers --json`` writes them; by default those that are kept.
    """
    if results is None:
        results = json.loads(COMPARED.read_text("utf-8")) if COMPARED.exists() else {}
    runs = _real(results)
    lines = [
        "| | hand-written loop, no safety at all | **Breakbulk** | Celery chord on Redis |",
        "|---|---|---|---|",
    ]
    for what, figures in _COMPARED:
        ours, chords = (_against(runs, name, figures, bold=name == OURS) for name in (OURS, CHORD))
        lines.append(f"| {what} | 1 | {ours} | {chords} |")
    sent = f"{runs[0]['chunks'] + 1:,}" if runs else "one a chunk, and one"
    lines += [
        f"| messages sent | 0 | **one a lane every few seconds** | {sent} |",
        "| pause, resume, progress, retry of what failed | no | **yes** | no |",
        "",
    ]
    taken = [one["seconds"] for one in _of(runs, OURS)]
    if not taken:
        lines.append("Not measured yet: see below, and then `python -m docs.generate`.")
        return "\n".join(lines)
    rounds = "One round" if len(taken) == 1 else f"Medians of {len(taken)} rounds"
    lines.append(
        f"{rounds} on {results['machine']['cores']} cores, and what they varied by. Breakbulk took"
        f" {short(median(taken))} s for the {results['job']['rows']:,} rows, and after each round"
        " every row had been changed exactly once."
    )
    return "\n".join(lines)


def chunk(measured: Measured | None = None) -> str:
    """What a chunk costs, as a table."""
    found = measured or Measured.of()
    size, log = _of_chunk(found), found.get("ledger", "write-ahead log a chunk")
    own, indexes = (found.get("ledger", f"a chunk: {name}chunks") for name in ("", "indexes of "))
    disk = _NOT_YET
    if size is not None and own is not None and indexes is not None:
        disk = (
            f"{size:.0f} bytes: {own:.0f} of its row, {indexes:.0f} of two indexes,"
            f" {size - own - indexes:.0f} of tallies and stays"
        )
    kilobytes = _NOT_YET if log is None else f"{log / _KB:.1f} KB, full pages after checkpoints"
    included = "" if log is None else " included"
    statements, trips = _BUDGET["statements"], _BUDGET["round_trips"]
    return "\n".join(
        [
            "| | | held or measured by |",
            "|---|---|---|",
            f"| statements beside your own | {statements}: {_STATEMENTS} | {_COUNTED} |",
            f"| round trips beside your own | {trips} | likewise |",
            f"| where no session is asked for | {_IDLE['statements']}: the mark | likewise |",
            "| commits that wait for the disk | 1, with your changes in it | likewise |",
            f"| ledger on disk, when the run is over | {disk} | `python -m bench ledger` |",
            f"| write-ahead log | {kilobytes}{included} | likewise |",
            "| messages | none | `python -m bench memory` |",
        ]
    )


def beside(measured: Measured | None = None) -> str:
    """What is kept of whatever happens beside the normal course of things, as a table."""
    found = measured or Measured.of()
    told: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        (
            "a failed attempt",
            "an attempt that failed, with a short traceback",
            lambda size: f"{size}; a long one adds its length",
        ),
        (
            "an item of an iterable",
            "an item of an [iterable](../how-to/items.md) (a short number)",
            lambda size: f"{size}, and the item's own JSON if it is longer",
        ),
        (
            "a part of a canvas",
            "a part of a canvas, with a short result",
            lambda size: f"{size}: item, result and chunk",
        ),
    )
    lines = ["| | ledger on disk |", "|---|---|"]
    for figure, what, tell in told:
        size = found.get("ledger", f"{figure}: all of these")
        lines.append(f"| {what} | {_NOT_YET if size is None else tell(_bytes(size))} |")
    return "\n".join([*lines, "", _where(found)])


def billion(measured: Measured | None = None) -> str:
    """What a billion rows would cost, on paper, as a table."""
    found = measured or Measured.of()
    size, log = _of_chunk(found), found.get("ledger", "write-ahead log a chunk")
    chunks = _BILLION // _CHUNK_SIZE
    disk, written = (
        _NOT_YET if one is None else f"{chunks * one / _GB:.2g} GB" for one in (size, log)
    )
    return "\n".join(
        [
            f"In chunks of {_CHUNK_SIZE} that is {chunks:,} chunks:",
            "",
            "| | |",
            "|---|---|",
            f"| ledger | {disk}, until [the run is pruned](../how-to/prune-old-runs.md) |",
            f"| write-ahead log of the ledger | {written}; {_YOURS} |",
            "| submit | as for a thousand rows: nothing is planned up front |",
            "| memory of submitter, workers, broker | as for a thousand rows |",
            "| messages | one a lane every five seconds, however many rows |",
            f"| chunk numbers | {_NUMBERS} |",
        ]
    )


def _real(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs with real work that were right."""
    return [run for run in results.get("runs", ()) if run["function"] == "score" and run["seconds"]]


def _of(runs: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [run for run in runs if run["contestant"] == name]


def _against(
    runs: Sequence[Mapping[str, Any]], name: str, figures: tuple[str, ...], *, bold: bool
) -> str:
    """How many times as much as the loop of the same round: the median, and the ends."""
    loops = {run["round"]: run for run in _of(runs, LOOP)}
    ratios = [
        sum(run[one] for one in figures) / sum(loops[run["round"]][one] for one in figures)
        for run in _of(runs, name)
        if run["round"] in loops
    ]
    if not ratios:
        return _NOT_YET
    middle = f"{median(ratios):.2f}"
    ends = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    return (f"**{middle}**" if bold else middle) + ends


def _of_chunk(found: Measured) -> float | None:
    return found.get("ledger", "a chunk: all of these")


def _bytes(size: float) -> str:
    return f"{size / _KB:.1f} KB" if size >= _KB else f"{size:.0f} bytes"


def _where(found: Measured) -> str:
    if not found.about:
        command = "python -m bench ledger --json bench/results/bench.json"
        return f"Not measured yet: `make bench`, or `{command}`; then `python -m docs.generate`."
    version = found.about["versions"]["PostgreSQL"]
    return (
        f"Measured on PostgreSQL {version} with its defaults, after VACUUM, by `python -m bench"
        " ledger`. Sizes differ little from run to run; keys that are long as text add their length"
        " twice to a chunk."
    )
