"""The results of ``make outside`` as Markdown; nothing but the JSON goes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.origin import commit_of

RIGHT, WRONG = "as demanded", "not as demanded"


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page about a run."""
    parts = [
        "# The scenarios of Celery's chord, and what they leave out",
        "Generated from the JSON beside it; do not edit.",
        about(results),
        tables(results, heading="##"),
        "## The contestants",
        *(_contestant(one) for one in results["contestants"]),
    ]
    return "\n\n".join(parts) + "\n"


def about(results: Mapping[str, Any]) -> str:
    """When, where and with what."""
    machine = results["machine"]
    facts = {
        "When and where": f"{results['date']}; {machine['cores']} cores, {machine['architecture']},"
        f" {machine['system']}.",
        "Command": f"`{results['command']}`.",
        "Commit": f"{commit_of(results)}.",
        "Versions": ", ".join(f"{name} {is_}" for name, is_ in results["versions"].items()) + ".",
        "Outcome": f"{tally(results)}.",
        "In session": "whether a part or the body of Breakbulk's asks for the run's session, so"
        " that what it changes is there exactly once; all else is done at least once, by both.",
    }
    return "\n".join(f"* **{name}:** {fact}" for name, fact in facts.items())


def tally(results: Mapping[str, Any]) -> str:
    """How many scenarios each contestant has met."""
    counts = []
    for one in results["contestants"]:
        met = [
            scenario["outcomes"].get(one["name"], {}).get("outcome") == RIGHT
            for scenario in results["scenarios"]
        ]
        counts.append(f"{one['title']}: {sum(met)} of {len(met)} as demanded")
    return "; ".join(counts)


def tables(results: Mapping[str, Any], *, heading: str) -> str:
    """Return a table for each origin, for other pages, too."""
    origins = dict.fromkeys(one["origin"] for one in results["scenarios"])
    parts = []
    for origin in origins:
        scenarios = [one for one in results["scenarios"] if one["origin"] == origin]
        parts += [f"{heading} {origin}", _table(results["contestants"], scenarios)]
    return "\n\n".join(parts)


def _table(contestants: Iterable[Mapping[str, Any]], scenarios: Iterable[Mapping[str, Any]]) -> str:
    contestants = list(contestants)
    lines = [
        _line("scenario", "what it demands", *(one["title"] for one in contestants), "in session"),
        _line(*("---" for _ in range(len(contestants) + 3))),
    ]
    for one in scenarios:
        cells = [_cell(one["outcomes"].get(contestant["name"])) for contestant in contestants]
        session = "yes" if one["session"] else "no"
        lines.append(_line(f"`{one['name']}`", one["demands"], *cells, session))
    return "\n".join(lines)


def _cell(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "not run"
    if outcome["outcome"] == RIGHT:
        return RIGHT
    return f"**no**: {outcome['why'] or 'not as expected'}"


def _contestant(one: Mapping[str, Any]) -> str:
    settings = ", ".join(f"`{name}={value!r}`" for name, value in one["settings"].items())
    return f"**{one['title']}.** {one['about']} Settings: {settings}."


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
