"""The figures of the README and of the page "What it costs" are those that were measured."""

from __future__ import annotations

from typing import Any

from docs import costs
from docs.at_scale import Measured

_FIGURES = {
    "a chunk: chunks": 167.4,
    "a chunk: indexes of chunks": 108.0,
    "a chunk: all of these": 288.4,
    "write-ahead log a chunk": 912.0,
    "a failed attempt: all of these": 1_523.0,
    "an item of an iterable: all of these": 95.1,
    "a part of a canvas: all of these": 392.6,
}
_LEDGER = Measured(
    {
        "date": "2026-01-31",
        "versions": {"PostgreSQL": "18.6"},
        "findings": [
            {
                "name": "ledger",
                "figures": [{"name": name, "median": value} for name, value in _FIGURES.items()],
            }
        ],
    }
)
_NOTHING = Measured({})


def run(contestant: str, number: int, seconds: float | None, cpu: float) -> dict[str, Any]:
    figures = {"seconds": seconds, "workers": cpu, "database": 1.0, "broker": 9.0}
    named = {"contestant": contestant, "function": "score", "chunks": 1_773, "round": number}
    return {**named, **figures}


def peers(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"machine": {"cores": 2}, "job": {"rows": 886_323}, "runs": [*runs]}


def test_the_chord_is_compared_round_by_round() -> None:
    found = peers(
        *(run("loop", number, seconds, 1.0) for number, seconds in ((1, 5.0), (2, 10.0))),
        *(run("breakbulk", number, seconds, 1.2) for number, seconds in ((1, 5.5), (2, 10.0))),
        run("chord", 1, 8.0, 2.0),
        # Whoever was wrong has no time.
        run("chord", 2, None, 2.0),
    )
    told = costs.chord(found)
    assert "| the whole job, wall clock | 1 | **1.05** (1.00 to 1.10) | 1.60 |" in told
    assert (
        "| the same, CPU of workers and PostgreSQL | 1 | **1.10** (1.10 to 1.10) | 1.50 |" in told
    )
    assert "| messages sent | 0 | **one a lane every few seconds** | 1,774 |" in told
    assert "Medians of 2 rounds on 2 cores" in told
    assert "Breakbulk took 7.75 s for the 886,323 rows" in told


def test_what_a_chunk_costs_is_what_the_ledger_has_grown_by() -> None:
    told = costs.chunk(_LEDGER)
    assert "288 bytes: 167 of its row, 108 of two indexes, 13 of tallies and stays" in told
    assert "| write-ahead log | 0.9 KB, full pages after checkpoints included |" in told
    assert "| round trips beside your own | 2 | likewise |" in told


def test_what_is_kept_besides() -> None:
    told = costs.beside(_LEDGER)
    assert "with a short traceback | 1.5 KB; a long one adds its length |" in told
    assert "(a short number) | 95 bytes, and the item's own JSON" in told
    assert "with a short result | 393 bytes: item, result and chunk |" in told
    assert "Measured on PostgreSQL 18.6" in told


def test_a_billion_rows_follow_from_a_chunk() -> None:
    told = costs.billion(_LEDGER)
    assert "that is 2,000,000 chunks:" in told
    assert "| ledger | 0.58 GB, until" in told
    assert "| write-ahead log of the ledger | 1.8 GB; what your own" in told


def test_without_results_each_part_says_how_to_get_them() -> None:
    assert "Not measured yet" in costs.chord({})
    assert "| the whole job, wall clock | 1 | not yet | not yet |" in costs.chord({})
    assert "make bench" in costs.beside(_NOTHING)
    for part in (costs.chunk, costs.beside, costs.billion):
        assert "not yet" in part(_NOTHING)
