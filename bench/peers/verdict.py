"""What is to be reached beside the peers, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.peers.roster import CHORD, LOOP, OURS
from bench.spread import interval

Results = Mapping[str, Any]

TIMES = 1.5
"""So many times as fast as Celery's chord, where the work is real."""


def runs_of(results: Results, event: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The runs of a contestant in an event."""
    return [
        run
        for run in results["runs"]
        if run["contestant"] == name
        and run["function"] == event["function"]
        and run["chunks"] == event["chunks"]
    ]


def ratios(results: Results, event: Mapping[str, Any], name: str, other: str) -> list[float]:
    """The quotients of the seconds of two runs in the same round, as far as both were right."""
    theirs = {run["round"]: run["seconds"] for run in runs_of(results, event, other)}
    return [
        run["seconds"] / theirs[run["round"]]
        for run in runs_of(results, event, name)
        if run["seconds"] and theirs.get(run["round"])
    ]


def verdicts(results: Results) -> list[dict[str, Any]]:
    """One for each event and target of which anything was measured, as JSON values.

    Who was wrong each time has no time, and so nobody is behind him.
    """
    found = []
    for event in results["events"]:
        times = {
            one["name"]: ratios(results, event, one["name"], OURS)
            for one in results["contestants"]
            if one["name"] not in {LOOP, OURS}
        }
        times = {name: values for name, values in times.items() if values}
        if event["function"] == "score" and CHORD in times:
            found.append(_verdict(event, CHORD, "Celery's chord / Breakbulk", times[CHORD], TIMES))
        if times:
            nearest = min(times, key=lambda name: median(times[name]))
            what = "the quickest peer / Breakbulk"
            found.append(_verdict(event, nearest, what, times[nearest], 1.0))
    return found


def _verdict(
    event: Mapping[str, Any], name: str, what: str, values: list[float], limit: float
) -> dict[str, Any]:
    return {
        "function": event["function"],
        "chunks": event["chunks"],
        "contestant": name,
        "what": what,
        "median": median(values),
        "interval": interval(values),
        "runs": len(values),
        "limit": limit,
        "met": median(values) >= limit,
    }
