"""The page "At scale" says what was measured, and of the rest that it was not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from docs import at_scale
from docs.at_scale import Measured

MACHINE = {"cores": 2, "processor": "some", "memory": "8 GB"}


def results(**findings: dict[str, float]) -> Measured:
    found: list[dict[str, Any]] = [
        {"name": name, "figures": [{"name": one, "median": value} for one, value in each.items()]}
        for name, each in findings.items()
    ]
    versions = {"PostgreSQL": "18", "Python": "3.11"}
    return Measured(
        {"date": "2026-01-31", "machine": MACHINE, "versions": versions, "findings": found}
    )


def lanes(number: int, cpu: float) -> dict[str, float]:
    figures = {
        "of what they could do": 0.98,
        "chunks": number * 1.96,
        "CPU a chunk": cpu,
        "transactions a chunk": 2.0,
        "sessions that wait for a lock": 0.25,
        "memory of a session": 3.0,
    }
    return {f"{number} lanes: {name}": value for name, value in figures.items()}


WHOLE = results(
    lanes={**lanes(256, 4.0), **lanes(2, 2.0)},
    claims={"quiet: chunks": 2345.6},
    ledger={"a chunk: all of these": 288.0, "write-ahead log a chunk": 900.0},
)


def test_what_was_measured_is_told_and_the_rest_is_said_to_be_missing() -> None:
    told = at_scale.ledger(WHOLE)
    assert "2026-01-31: 2 cores (some), 8 GB, PostgreSQL 18" in told
    assert "| chunks that do nothing, with two lanes | 2,346/s | `bench claims` |" in told
    assert "| submit to first chunk, 1,000 rows | not yet | `bench latency` |" in told


def test_the_large_table_is_as_large_as_it_was() -> None:
    found = results(
        latency={
            "submit to first chunk at work, 1,000 rows": 31.0,
            "submit to first chunk at work, 100,000,000 rows": 32.4,
        }
    )
    told = at_scale.ledger(found)
    assert "| submit to first chunk, 1,000 rows | 31 ms | `bench latency` |" in told
    assert "| submit to first chunk, 100,000,000 rows | 32.4 ms | `bench latency` |" in told
    assert "| submit to first chunk, a great many rows | not yet |" in at_scale.ledger(WHOLE)


def test_lanes_are_told_in_their_order() -> None:
    rows = at_scale.lanes(WHOLE).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 2", "| 256"]
    assert "98%" in rows[1]


def test_the_rest_follows_from_the_most_lanes() -> None:
    """Two cores at 4 ms a chunk end at 500 chunks a second."""
    told = at_scale.paper(WHOLE)
    assert "2 cores end at 500 chunks/s" in told
    assert "| 10 s | 5,000 | 12.4 GB | 38.9 GB |" in told
    thousand = at_scale.nodes(WHOLE)
    assert "| sessions | 5,002, with 15 GB of their own |" in thousand
    assert "| shortest chunks that 2 cores can bear | 8 s |" in thousand
    assert "| cores for chunks of 1 s | 16 |" in thousand
    assert "| messages | 800/s |" in thousand


def test_without_results_each_part_says_how_to_get_them() -> None:
    nothing = Measured({})
    for part in (at_scale.ledger, at_scale.lanes, at_scale.paper, at_scale.nodes):
        assert "python -m bench" in part(nothing)
        assert "--json bench/results/bench.json" in part(nothing)


def test_every_figure_is_one_that_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.benched"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        timeout=120,
    )
    whole = {
        "date": "2026-01-31",
        "machine": MACHINE,
        "versions": {"PostgreSQL": "18", "Python": "3.11"},
        "findings": json.loads(done.stdout),
    }
    for part in (at_scale.ledger, at_scale.lanes, at_scale.paper, at_scale.nodes):
        told = part(Measured(whole))
        assert "not yet" not in told
        assert "Not measured" not in told
