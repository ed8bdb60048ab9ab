"""The command line: ``python -m bench peers``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import catalogue
from bench.origin import load, origin
from bench.peers import roster
from bench.peers.contest import Event, Ground, Run, ground
from bench.peers.page import heading, table, targets, write
from bench.peers.peer import CHUNK_SIZE, WORKERS
from bench.peers.verdict import verdicts
from bench.servers import servers
from bench.spread import repetitions
from breakbulk.embedded import scratch_directory

_NOTHING = (1_773, 20_000)
_QUICK_CHUNKS = 5


def main(arguments: Sequence[str]) -> None:
    """Let them compete, and write what came of it."""
    options = _options(arguments)
    if options.render:
        write(options.render, json.loads(options.render.read_text("utf-8")))
        return
    catalogue.check()
    # Else nothing would be cleaned up.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    names = [name for name in roster.NAMES if name in options.only] or list(roster.NAMES)
    # What all the others are compared with.
    names = [*dict.fromkeys([roster.LOOP, roster.OURS, *names])]
    absent = {name: package for name in names if (package := roster.missing(name))}
    if absent and not options.quick:
        raise SystemExit(
            f"{', '.join(sorted(absent.values()))} must be installed: pip install -e '.[peers]',"
            " or name others with --only."
        )
    for name, package in absent.items():
        print(f"{name} is left out: {package} is not installed", flush=True)
        names.remove(name)
    events = _events(options)
    began = time.monotonic()
    with servers() as found, scratch_directory("breakbulk-peers-") as scratch:
        abouts = {name: roster.peer(name).ABOUT for name in names}
        packages = [one for about in abouts.values() for one in about.packages]
        results = origin(found, packages)
        nothing = [event.chunks for event in events if event.function == "nothing"]
        with ground(found, scratch, rows=options.rows, nothing=nothing) as place:
            events = [_cut(event, place.rows) for event in events]
            results["job"] = {"rows": place.rows, "chunk_size": CHUNK_SIZE, "workers": WORKERS}
            results["contestants"] = [
                {"name": name, "module": roster.module(name), **asdict(about)}
                for name, about in abouts.items()
            ]
            results["events"] = [asdict(event) for event in events]
            results["runs"] = [
                asdict(run) for event in events for run in _rounds(place, event, names, options)
            ]
    for event in results["events"]:
        told = targets(results, event)
        print(f"\n{heading(event)}\n{table(results, event)}\n{told}".rstrip(), flush=True)
    results["verdicts"] = verdicts(results)
    results["minutes"] = round((time.monotonic() - began) / 60)
    results["machine"]["load_after"] = load()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write(options.json, results)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench peers", description="Compare.")
    parser.add_argument(
        "--only",
        action="append",
        choices=roster.NAMES,
        metavar="NAME",
        default=[],
        help=f"of {', '.join(roster.NAMES)}",
    )
    parser.add_argument(
        "--rows", type=int, default=catalogue.ROWS, help="products, by default %(default)s"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"everything once, over {_QUICK_CHUNKS} chunks, with whatever is installed",
    )
    parser.add_argument("--runs", type=int, help="of everything, whatever it takes")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results there, and a page beside it"
    )
    parser.add_argument(
        "--render", type=Path, metavar="FILE", help="only write the page of these results anew"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rows, options.runs = _QUICK_CHUNKS * CHUNK_SIZE, 1
    return options


def _events(options: argparse.Namespace) -> list[Event]:
    nothing = (_QUICK_CHUNKS,) if options.quick else _NOTHING
    return [Event("score", 0), *(Event("nothing", chunks) for chunks in nothing)]


def _cut(event: Event, rows: int) -> Event:
    return Event("score", -(-rows // CHUNK_SIZE)) if event.function == "score" else event


def _rounds(
    place: Ground, event: Event, names: Sequence[str], options: argparse.Namespace
) -> list[Run]:
    """Run all that are left again and again; who goes first takes turns."""
    left = [name for name in names if _takes_part(name, event)]
    runs: list[Run] = []
    number = 1
    while left:
        for name in left if number % 2 else left[::-1]:
            runs.append(place.compete(name, event, number))
            _tell(runs[-1])
        left = [name for name in left if _wants_more(name, runs, number, options.runs)]
        number += 1
    return runs


def _takes_part(name: str, event: Event) -> bool:
    # A loop that does nothing shows nothing, and a slice that is not looked for is none.
    return event.function == "score" or name not in {roster.LOOP, roster.OFFSET}


def _wants_more(name: str, runs: Sequence[Run], number: int, fixed: int | None) -> bool:
    mine = [run for run in runs if run.contestant == name]
    if fixed is not None:
        return number < fixed
    if name == roster.OFFSET:
        return False
    # One that failed may have had bad luck, twice.
    seconds = min((run.seconds for run in mine if run.seconds is not None), default=60.0)
    return number < repetitions(seconds)


def _tell(run: Run) -> None:
    outcome: Any = run.wrong or f"{run.seconds:.2f} s"
    print(
        f"{run.function} x {run.chunks:,}, {run.contestant}, round {run.round}: {outcome}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
