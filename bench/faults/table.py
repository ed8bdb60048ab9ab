"""The results of a run as Markdown; nothing but the JSON goes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.faults.outcome import Outcome

_NUMBERS = (
    "fault",
    "system",
    "callbacks",
    "rows missed",
    "rows twice",
    "callback after",
    "struck at",
    "workers restarted",
)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page about a run."""
    parts = [
        "# The same faults, one run",
        "Generated from the JSON beside it; do not edit.",
        _about(results),
        "## What came of it",
        grid(results),
        _legend(results),
        "## In numbers",
        _numbers(results),
        "## The systems",
        *(_system(one) for one in results["systems"]),
    ]
    return "\n\n".join(parts) + "\n"


def grid(results: Mapping[str, Any]) -> str:
    """Return the table of faults and systems, for other pages, too."""
    systems = results["systems"]
    outcomes = _outcomes(results)
    lines = [
        _line("fault", *(one["title"] for one in systems)),
        _line(*("---" for _ in range(len(systems) + 1))),
    ]
    for fault in results["faults"]:
        cells = []
        for system in systems:
            outcome = outcomes.get((fault["name"], system["name"]))
            lacks = system["lacks"].get(fault["name"], "")
            cells.append(lacks if outcome is None else outcome.words(fault["lost_rows"]))
        lines.append(_line(fault["title"], *cells))
    return "\n".join(lines)


def _about(results: Mapping[str, Any]) -> str:
    job, machine = results["job"], results["machine"]
    facts = {
        "When and where": f"{results['date']}; {machine['cores']} cores, {machine['architecture']},"
        f" {machine['system']}; load {machine['load_before']} before and {machine['load_after']}"
        " after.",
        "Command": f"`{results['command']}`, seed {results['seed']}; it took"
        f" {results['minutes']:.0f} minutes.",
        "Versions": ", ".join(f"{name} {is_}" for name, is_ in results["versions"].items()) + ".",
        "Job": f"{job['rows']:,} rows in {job['rows'] // job['chunk_size']} chunks of"
        f" {job['chunk_size']}, {job['chunk_seconds'] * 1000:.0f} ms of waiting in each;"
        f" what fails is tried {job['max_retries']} times more, {job['retry_delay']} s apart;"
        f" {job['workers']} workers with {job['slots']} slots each. A supervisor starts a worker"
        " whose main process has ended anew, 2 s later.",
        "One trial each": f"with {results['seconds']:.0f} s of time after the stroke, and more"
        " while rows are still being done. Where a kill lands is chance, so another run may say"
        " otherwise; seconds on a busy machine say little."
        " What is in the tables is counted by plain SQL.",
    }
    return "\n".join(f"* **{name}:** {fact}" for name, fact in facts.items())


def _legend(results: Mapping[str, Any]) -> str:
    return (
        "**right**: called back once, after every row was done, and every row once (a row that"
        " nobody can process excepted); the seconds are those from the stroke until the callback"
        " was committed, the rest of the work included. **no callback**: none within"
        f" {results['seconds']:.0f} s. *Told of failure*: the system called back to say so."
    )


def _numbers(results: Mapping[str, Any]) -> str:
    titles = {one["name"]: one["title"] for one in results["faults"]}
    names = {one["name"]: one["title"] for one in results["systems"]}
    lines = [_line(*_NUMBERS), _line(*("---" for _ in _NUMBERS))]
    for one in _outcomes(results).values():
        seconds = "never" if one.seconds is None else f"{one.seconds:.1f} s"
        lines.append(
            _line(
                titles[one.fault] + (f" ({one.note})" if one.note else ""),
                names[one.system],
                str(one.callbacks),
                f"{one.missed:,}",
                f"{one.twice:,}",
                seconds,
                f"{one.done_before / results['job']['rows']:.0%}",
                str(one.restarts),
            )
        )
    return "\n".join(lines)


def _system(one: Mapping[str, Any]) -> str:
    settings = ", ".join(f"`{name}={value!r}`" for name, value in one["settings"].items())
    return f"**{one['title']}** (`{one['module']}`). {one['about']} Settings: {settings}."


def _outcomes(results: Mapping[str, Any]) -> dict[tuple[str, str], Outcome]:
    found = [Outcome(**one) for one in results["outcomes"]]
    return {(one.fault, one.system): one for one in found}


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
