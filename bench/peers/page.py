"""The results as a page with pictures; nothing but the JSON goes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.drawing import bars
from bench.origin import about
from bench.peers.roster import LOOP, OURS
from bench.peers.verdict import Results, ratios, runs_of, verdicts
from bench.spread import short, within


def write(path: Path, results: Results) -> None:
    """Write the page and its pictures beside a JSON file."""
    path.with_suffix(".md").write_text(markdown(results, path.stem), encoding="utf-8")
    for name, picture in pictures(results, path.stem).items():
        path.with_name(name).write_text(picture, encoding="utf-8")


def markdown(results: Results, stem: str) -> str:
    """Return the page."""
    job = results["job"]
    terms = (
        f"Each had {job['workers']} worker processes and got the same function, table and key"
        f" ranges of {job['chunk_size']} rows. They ran in turn, round by round, each time in a"
        " fresh copy of the database; a ratio is that of two runs of the same round. A run in"
        " which plain SQL did not find every row done once has no time. Who takes less than 30 s"
        " ran 5 times, less than 90 s 3 times, and else once."
    )
    parts = [
        "# The same work, done by others",
        "Generated from the JSON beside it; do not edit.",
        about(results),
        terms,
    ]
    for event in results["events"]:
        parts += [
            f"## {heading(event)}",
            f"![{heading(event)}]({picture_name(stem, event)})",
            table(results, event),
        ]
        if told := targets(results, event):
            parts.append(told)
    parts += ["## The contestants", *(_contestant(one) for one in results["contestants"])]
    return "\n\n".join(parts) + "\n"


def pictures(results: Results, stem: str) -> dict[str, str]:
    """Return the pictures by the names of their files."""
    drawn = {}
    for event in results["events"]:
        rows = [
            (_plain(one["title"]), _values(runs, "seconds"))
            for one, runs in _by_contestant(results, event)
        ]
        rows.sort(key=lambda row: median(row[1]) if row[1] else float("inf"))
        drawn[picture_name(stem, event)] = bars(heading(event), "s", rows)
    return drawn


def heading(event: Mapping[str, Any]) -> str:
    """What an event is called."""
    kind = "of real work" if event["function"] == "score" else "that do nothing"
    return f"{event['chunks']:,} chunks {kind}"


def picture_name(stem: str, event: Mapping[str, Any]) -> str:
    """The file of an event's picture."""
    return f"{stem}-{event['function']}-{event['chunks']}.svg"


def table(results: Results, event: Mapping[str, Any]) -> str:
    """Return the table of an event, the quickest first."""
    compared = [name for name in (LOOP, OURS) if runs_of(results, event, name)]
    titles = {LOOP: "to the loop", OURS: "to Breakbulk"}
    head = ["", "median", "least to most", "runs", *(titles[name] for name in compared)]
    head += ["chunks/s", "CPU, all processes", "to hand in", "its memory", "broker's memory"]
    rows = []
    for one, runs in _by_contestant(results, event):
        seconds = _values(runs, "seconds")
        wrong = [run["wrong"] for run in runs if run["wrong"]]
        if not seconds:
            rows.append((float("inf"), [one["title"], f"**{wrong[0]}**", *[""] * (len(head) - 2)]))
            continue
        ratios = [_ratio(results, event, one["name"], other) for other in compared]
        cells = [
            one["title"] + (f" (**{len(wrong)} more: {wrong[0]}**)" if wrong else ""),
            f"{short(median(seconds))} s",
            f"{short(min(seconds))} to {short(max(seconds))}" if len(seconds) > 1 else "",
            f"{len(seconds)}" if len(seconds) > 1 else "once",
            *ratios,
            short(event["chunks"] / median(seconds)),
            f"{short(median(_cpu(runs)))} s",
            f"{short(median(_values(runs, 'submit')))} s",
            f"{short(median(_values(runs, 'submitter')))} MB",
            f"{short(median(_values(runs, 'messages')))} MB",
        ]
        rows.append((median(seconds), cells))
    rows.sort(key=lambda row: row[0])
    lines = [_line(head), _line(["---"] * len(head)), *(_line(cells) for _, cells in rows)]
    return "\n".join(lines)


def targets(results: Results, event: Mapping[str, Any]) -> str:
    """Return what is to be reached in an event, as a list; empty where nothing is."""
    titles = {one["name"]: _plain(one["title"]) for one in results["contestants"]}
    lines = []
    for one in verdicts(results):
        if (one["function"], one["chunks"]) != (event["function"], event["chunks"]):
            continue
        sure = "" if one["interval"] is None else " [{}, {}]".format(*map(short, one["interval"]))
        once = ", once" if one["runs"] == 1 else ""
        verdict = "met" if one["met"] else "**missed**"
        lines.append(
            f"* {one['what']} ({titles[one['contestant']]}{once}): {short(one['median'])}{sure},"
            f" to reach {one['limit']:g}: {verdict}"
        )
    return "\n".join(lines)


def _ratio(results: Results, event: Mapping[str, Any], name: str, other: str) -> str:
    """The median of the ratios of two runs in the same round."""
    if name == other:
        return "1"
    found = ratios(results, event, name, other)
    return f"{short(median(found))} {within(found)}".strip() if found else ""


def _by_contestant(
    results: Results, event: Mapping[str, Any]
) -> Iterable[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    for one in results["contestants"]:
        if runs := runs_of(results, event, one["name"]):
            yield one, runs


def _values(runs: Sequence[Mapping[str, Any]], what: str) -> list[float]:
    return [run[what] for run in runs if run[what] is not None]


def _cpu(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [
        run["workers"] + run["database"] + run["broker"]
        for run in runs
        if run["seconds"] is not None
    ]


def _contestant(one: Mapping[str, Any]) -> str:
    settings = ", ".join(f"`{name}={value!r}`" for name, value in one["settings"].items())
    return (
        f"**{_plain(one['title'])}** (`{one['module']}`). The end: {one['end']}. Lasting:"
        f" {one['durable']}. Settings: {settings or 'its defaults'}."
        + "".join(f"\n* {why}" for why in one["why"])
    )


def _plain(title: str) -> str:
    return title.replace("*", "").replace("`", "")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
