"""The figures of ``docs/explanation/at-scale.md``: as they were measured, and on paper.

All of them come from one file of results. What is not in it is said to be missing, with the command
that measures it; nothing is filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.spread import short
from breakbulk.settings import Settings

RESULTS = Path(__file__).parent.parent / "bench" / "results" / "bench.json"
_COMMAND = "python -m bench claims lanes latency ledger --json bench/results/bench.json"
_NODES, _SLOTS = 1000, 4
_SECONDS = (0.1, 1.0, 10.0, 60.0)
_UNKNOWN = "a great many"
_DAY = 86_400
_GB = 10**9
_LANES = re.compile(r"(\d+) lanes: (.*)")
_FIRST = re.compile(r"submit to first chunk at work, ([\d,]+) rows")


class Measured:
    """The medians of a file of results; of none, where there is no such file.

    Args:
        results: as ``python -m bench --json`` writes them.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.about = results
        self._found = {
            (finding["name"], figure["name"]): float(figure["median"])
            for finding in results.get("findings", ())
            for figure in finding["figures"]
        }

    @classmethod
    def of(cls, path: Path = RESULTS) -> Measured:
        """What that file holds."""
        return cls(json.loads(path.read_text("utf-8")) if path.exists() else {})

    def get(self, finding: str, figure: str) -> float | None:
        """A median; None when it was not measured."""
        return self._found.get((finding, figure))

    def lanes(self) -> dict[int, dict[str, float]]:
        """The figures of ``bench lanes`` by the number of lanes."""
        by_number: dict[int, dict[str, float]] = {}
        for (finding, figure), value in self._found.items():
            named = _LANES.fullmatch(figure)
            if finding == "lanes" and named:
                by_number.setdefault(int(named[1]), {})[named[2]] = value
        return dict(sorted(by_number.items()))

    def large(self) -> str:
        """How many rows the large table of ``bench latency`` had, as they are told."""
        named = (
            _FIRST.fullmatch(figure) for finding, figure in self._found if finding == "latency"
        )
        rows = [one[1] for one in named if one]
        return max(rows, key=lambda told: int(told.replace(",", "")), default=_UNKNOWN)

    def chunks_a_second(self) -> float | None:
        """At which the machine ends: its cores, by what a chunk costs with the most lanes."""
        lanes, cores = self.lanes(), self.about.get("machine", {}).get("cores")
        if not lanes or not cores:
            return None
        return float(cores) * 1000 / next(reversed(lanes.values()))["CPU a chunk"]


_TOLD: tuple[tuple[str, str, str, str], ...] = (
    ("claims", "quiet: chunks", "chunks that do nothing, with two lanes", "/s"),
    ("claims", "bare transactions", "two bare connections that commit an UPDATE each", "/s"),
    (
        "claims",
        "quiet: last tenth / first tenth",
        "the last tenth of 200,000 chunks against the first",
        "times as fast",
    ),
    ("claims", "pinned: chunks", "the same behind a transaction that holds back vacuum", "/s"),
    (
        "claims",
        "pinned: last tenth / first tenth",
        "there, the last tenth against the first",
        "times as fast",
    ),
    (
        "latency",
        "submit to first chunk at work, 1,000 rows",
        "submit to first chunk, 1,000 rows",
        "ms",
    ),
    (
        "latency",
        "submit to first chunk at work, {large} rows",
        "submit to first chunk, {large} rows",
        "ms",
    ),
    ("ledger", "a chunk: all of these", "ledger on disk a chunk", "bytes"),
    ("ledger", "write-ahead log a chunk", "write-ahead log a chunk", "bytes"),
)


def ledger(measured: Measured | None = None) -> str:
    """What one ledger carries, as a table."""
    found = measured or Measured.of()
    lines = [_where(found), "", "| what | measured | by |", "|---|---|---|"]
    for finding, named, said, unit in _TOLD:
        figure, what = (one.replace("{large}", found.large()) for one in (named, said))
        value = found.get(finding, figure)
        told = "not yet" if value is None else f"{short(value)} {unit}".replace(" /s", "/s")
        lines.append(f"| {what} | {told} | `bench {finding}` |")
    return "\n".join(lines)


def lanes(measured: Measured | None = None) -> str:
    """What comes of more lanes on one ledger, as a table."""
    found = (measured or Measured.of()).lanes()
    if not found:
        return _missing()
    lines = [
        "| lanes | chunks/s | of the possible | CPU a chunk | sessions in line | memory of each |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {number} | {short(one['chunks'])} | {one['of what they could do']:.0%}"
        f" | {short(one['CPU a chunk'])} ms | {short(one['sessions that wait for a lock'])}"
        f" | {short(one['memory of a session'])} MB |"
        for number, one in found.items()
    ]
    return "\n".join(lines)


def paper(measured: Measured | None = None) -> str:
    """How many lanes a ledger keeps at work, by what a chunk takes, and what that writes."""
    found = measured or Measured.of()
    rate = found.chunks_a_second()
    size, log = (
        found.get("ledger", "a chunk: all of these"),
        found.get("ledger", "write-ahead log a chunk"),
    )
    if rate is None or size is None or log is None:
        return _missing()
    cores = found.about["machine"]["cores"]
    lines = [
        f"{cores} cores end at {rate:,.0f} chunks/s, for workers and PostgreSQL together. Then:",
        "",
        "| a chunk takes | lanes at work | ledger a day | write-ahead log a day |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {seconds:g} s | {rate * seconds:,.0f} | {rate * size * _DAY / _GB:,.1f} GB"
        f" | {rate * log * _DAY / _GB:,.1f} GB |"
        for seconds in _SECONDS
    ]
    return "\n".join(lines)


def nodes(measured: Measured | None = None) -> str:
    """A thousand nodes on one ledger, on paper."""
    found = measured or Measured.of()
    rate, by_number = found.chunks_a_second(), found.lanes()
    size = found.get("ledger", "a chunk: all of these")
    if rate is None or size is None:
        return _missing()
    many, cores = _NODES * _SLOTS, found.about["machine"]["cores"]
    memory = next(reversed(by_number.values()))["memory of a session"]
    ours, minute = Settings(), many / 60
    sessions, kept = many + _NODES + 2, minute * size * _DAY / _GB
    return "\n".join(
        [
            f"| {_NODES:,} nodes of {_SLOTS} slots | on paper |",
            "|---|---|",
            f"| lanes | {many:,} |",
            f"| sessions | {sessions:,}, with {sessions * memory / 1024:.0f} GB of their own |",
            f"| shortest chunks that {cores} cores can bear | {many / rate:.0f} s |",
            f"| cores for chunks of 1 s | {many / rate * cores:.0f} |",
            f"| chunks of a minute | {minute:.0f}/s, {kept:.1f} GB of ledger a day |",
            f"| questions of stewards | {_NODES / ours.steward_seconds:,.0f}/s |",
            f"| messages | {many / ours.slice_seconds:,.0f}/s |",
        ]
    )


def _where(found: Measured) -> str:
    if not found.about:
        return _missing()
    machine = found.about["machine"]
    if not isinstance(machine, Mapping):
        return f"{machine}."
    versions = found.about["versions"]
    return (
        f"{found.about['date']}: {machine['cores']} cores ({machine['processor']}),"
        f" {machine['memory']}, PostgreSQL {versions['PostgreSQL']}, Python {versions['Python']};"
        " medians."
    )


def _missing() -> str:
    return f"Not measured yet: `make bench`, or `{_COMMAND}`; then `python -m docs.generate`."
