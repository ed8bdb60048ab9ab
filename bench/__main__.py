"""The command line: ``python -m bench [names…]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import (
    auto,
    canvas,
    catalogue,
    claims,
    gentle,
    lanes,
    latency,
    ledger,
    memory,
    noop,
    page,
    pages,
    real,
    sets,
    sparse,
    submit,
    tail,
)
from bench.figures import Findings
from bench.origin import load, origin
from bench.servers import servers
from bench.stage import LARGE, Stage, stage

MEASUREMENTS: dict[str, Callable[[Stage, int | None], Findings]] = {
    "real": real.measure,
    "sets": sets.measure,
    "noop": noop.measure,
    "claims": claims.measure,
    "lanes": lanes.measure,
    "tail": tail.measure,
    "submit": submit.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "ledger": ledger.measure,
    "sparse": sparse.measure,
    "pages": pages.measure,
    "canvas": canvas.measure,
    "gentle": gentle.measure,
    "auto": auto.measure,
}
#: Measured only when they are named, as by ``make bench-long``: a Celery chord takes its time, as
#: do a p99 and a drift.
NAMED = ("canvas", "gentle", "auto")


def main() -> None:
    """Measure what was asked for and print it; the exit status says nothing about the targets."""
    if sys.argv[1:2] == ["faults"]:
        # Imported only here, because it needs the peers' packages.
        from bench.faults.command import main as faults

        faults(sys.argv[2:])
        return
    if sys.argv[1:2] == ["peers"]:
        from bench.peers.command import main as peers

        peers(sys.argv[2:])
        return
    parser = argparse.ArgumentParser("python -m bench", description="Measure Breakbulk.")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MEASUREMENTS))
    parser.add_argument("--pairs", type=int, help="repetitions of each measurement")
    parser.add_argument(
        "--quick", action="store_true", help="over a hundredth of the rows, to see that it works"
    )
    parser.add_argument(
        "--rows", type=int, default=LARGE, help="of the large table of latency (%(default)s)"
    )
    parser.add_argument(
        "--lanes", type=int, nargs="+", default=[], help="how many, for lanes and auto"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there, and a page beside it"
    )
    parser.add_argument(
        "--render", type=Path, metavar="FILE", help="only write the page of these figures anew"
    )
    options = parser.parse_args()
    if options.render:
        page.write(options.render, json.loads(options.render.read_text("utf-8")))
        return
    if unknown := sorted(set(options.names) - set(MEASUREMENTS)):
        parser.error(f"there is no {' or '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if min(options.rows, *options.lanes, 1) < 1:
        parser.error("--rows and --lanes must be at least 1")
    catalogue.check()
    began = time.monotonic()
    findings = []
    with (
        servers() as found,
        stage(found, quick=options.quick, large=options.rows, lanes=options.lanes) as made,
    ):
        results = origin(found)
        for name in options.names or [one for one in MEASUREMENTS if one not in NAMED]:
            findings.append(MEASUREMENTS[name](made, options.pairs))
            findings[-1].show()
            print(f"  (after {(time.monotonic() - began) / 60:.1f} minutes)", flush=True)
    results["minutes"] = round((time.monotonic() - began) / 60)
    results["machine"]["load_after"] = load()
    results["findings"] = [one.as_dict() for one in findings]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        page.write(options.json, results)


if __name__ == "__main__":
    main()
